"""Opens, clicks and unsubscribes, recorded once each."""

from collections.abc import Mapping
from functools import cache

import sqlalchemy as sa

from relay import hit_verdict, redaction, suppression_reason, tokens
from relay.event_type import EventType
from relay.store import events
from relay.store.database import delivery_rows, identities, tables
from relay.store.database.roll_ups import StreamAndTags
from relay.store.events import NewEvent
from relay.store.recipients import consent, suppressions
from relay.store.recipients.consent import ConsentChange
from relay.store.tracking import pixels, verdicts
from relay.store.tracking.hit_facts import Hit, TrackingRequest


def record_hit(connection: sa.Connection, hit: Hit) -> None:
    """Records a hit and moves the delivery's counters. Doing so twice changes nothing.

    Opens and clicks of a recipient who asked not to be tracked are not recorded. An unsubscribe suppresses the
    message's stream; only the first one is an event. A hit without a recipient is counted for the message only. Raises
    UnknownDeliveryError.
    """
    if connection.scalar(_FIND_EVENT, {"id": hit.id}):
        return
    if hit.number == tokens.STANDALONE_PIXEL:
        if not pixels.record_pixel_hit(connection, hit):
            delivery_rows.raise_if_recent(hit.message, hit.at)
        return
    if hit.number is None:
        _count_for_message(connection, hit)
        return
    found = delivery_rows.find_recipient(connection, hit.message, hit.number)
    if found is None:
        delivery_rows.raise_if_recent(hit.message, hit.at)
        return
    if hit.type is EventType.UNSUBSCRIBED:
        suppressions.add_suppression(
            connection,
            found.recipient,
            reason=suppression_reason.UNSUBSCRIBE,
            at=hit.at,
            stream=found.stream,
            evidence=hit.user_agent,
            message=hit.message,
        )
        if found.unsubscribed_at is not None:
            return
        delivery_rows.update_delivery(connection, hit.message, hit.number, unsubscribed_at=hit.at)
    else:
        if consent.find_untracked(connection, [found.recipient]):
            return
        if hit.for_message_only:
            _count_for_message(connection, hit)
            return
        counter = verdicts.COUNTERS[hit.type, hit.verdict]
        connection.execute(_increment(counter), {"of_message": hit.message, "of_number": hit.number})
    groups = {hit.message: StreamAndTags(found.stream, found.tags)}
    is_first = hit.verdict in hit_verdict.PERSON_VERDICTS and not (
        found.opens if hit.type is EventType.OPENED else found.clicks
    )
    _append_event(connection, hit, found.recipient, groups, is_first=is_first and hit.type in verdicts.HIT_TYPES)
    if hit.type is not EventType.UNSUBSCRIBED:
        verdicts.hit_added(connection, hit.message, hit.number)


def _count_for_message(connection: sa.Connection, hit: Hit) -> None:
    table = tables.message
    counter = table.c[verdicts.COUNTERS[hit.type, hit.verdict]]
    if connection.execute(sa.update(table).where(table.c.id == hit.message).values({counter: counter + 1})).rowcount:
        _append_event(connection, hit._replace(number=None), "")
    else:
        delivery_rows.raise_if_recent(hit.message, hit.at)


def _append_event(
    connection: sa.Connection,
    hit: Hit,
    recipient: str,
    groups: Mapping[str, StreamAndTags] | None = None,
    *,
    is_first: bool = False,
) -> None:
    events.append_events(connection, [event_of(connection, hit, recipient, is_first=is_first)], groups)


def event_of(connection: sa.Connection, hit: Hit, recipient: str, *, is_first: bool) -> NewEvent:
    """A hit as an event. `is_first`: it is the delivery's first open by a person, or the first click."""
    return NewEvent(
        id=hit.id,
        type=hit.type,
        at=hit.at,
        message=hit.message,
        number=hit.number,
        recipient=recipient,
        verdict=hit.verdict,
        reasons=hit.reasons,
        url=_stored_url(connection, hit),
        link=hit.link,
        user_agent=hit.user_agent,
        ip=hit.ip,
        first_open=is_first and hit.type is EventType.OPENED,
        first_click=is_first and hit.type is EventType.CLICKED,
        first_of_link=is_first and hit.type is EventType.CLICKED,  # of a later one's link, `verdicts` finds it
    )


def _stored_url(connection: sa.Connection, hit: Hit) -> str:
    """The destination of a click, as it may be stored. The links in the message's row have been redacted already."""
    if not hit.url or not identities.policy_for(connection).redacts:
        return hit.url
    table = tables.message
    links = connection.scalar(sa.select(table.c.links).where(table.c.id == hit.message)) or []
    scrubbed = (
        str(link["url"]) for link in links if link.get("number") == hit.link and redaction.REDACTED in link["url"]
    )
    return next(scrubbed, None) or redaction.redact_addresses(hit.url)


def stop_tracking(connection: sa.Connection, request: TrackingRequest) -> None:
    """Records a "no" for the address behind the delivery. Raises UnknownDeliveryError."""
    found = delivery_rows.find_recipient(connection, request.message, request.number)
    if found is None:
        delivery_rows.raise_if_recent(request.message, request.at)
    else:
        consent.change_consent(
            connection, ConsentChange([found.recipient], request.at, is_yes=False, source=consent.RECIPIENT)
        )


def resume_tracking(connection: sa.Connection, request: TrackingRequest) -> None:
    """Undoes `stop_tracking` only: a "no" from another source stays. Raises UnknownDeliveryError."""
    found = delivery_rows.find_recipient(connection, request.message, request.number)
    if found is None:
        delivery_rows.raise_if_recent(request.message, request.at)
    elif consent.opted_out_themselves(connection, found.recipient):
        # If consent is required, an address without an answer is not tracked: a yes must be recorded.
        is_yes = True if identities.policy_for(connection).requires_consent else None
        consent.change_consent(connection, ConsentChange([found.recipient], request.at, is_yes, consent.RECIPIENT))


# Statements of the hottest path, made once: making one takes longer than running it.
_FIND_EVENT = sa.select(tables.event.c.id).where(tables.event.c.id == sa.bindparam("id"))


@cache
def _increment(counter: str) -> sa.Update:
    table = tables.delivery
    is_delivery = table.c.message == sa.bindparam("of_message"), table.c.number == sa.bindparam("of_number")
    return sa.update(table).where(*is_delivery).values({counter: table.c[counter] + 1})
