"""Everything about one address as a recipient, exported or erased.

In: an address.  Out: a JSON object with everything; or a count of what was erased. Counters and totals stay, because
they identify nobody. A suppression and a "no" to tracking stay as pseudonyms, so that they still hold.
"""

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from relay import address, conversation
from relay.redaction import identifying_strings, redact
from relay.store import message_labels, message_words, refusals
from relay.store.console import audit_log
from relay.store.database import columns, identities, tables, webhook_tables
from relay.store.database.tables import Status
from relay.store.queue import content_files, deliveries, redaction
from relay.store.recipients import consent
from relay.store.views import json_objects, message_detail

MAX_DELIVERIES = 200  # deliveries per commit


class ErasedCounts(NamedTuple):
    """How much was erased."""

    deliveries: int = 0
    given_up: int = 0  # of them that waited, and are not sent any more
    events: int = 0
    attempts: int = 0
    contents: int = 0
    suppressions: int = 0  # kept as pseudonyms, or deleted
    consents: int = 0

    def __add__(self, other: object) -> "ErasedCounts":
        assert isinstance(other, ErasedCounts)
        return ErasedCounts(*(one + two for one, two in zip(self, other, strict=True)))


def export_address(connection: sa.Connection, mailbox: str, *, with_content: bool = False) -> json_objects.JsonObject:
    """Everything about the address. Of mail to several, only what is this recipient's; a content is the mail as it was
    accepted, in base64, with all that its header says."""
    theirs: dict[str, set[int]] = {}
    for row in _deliveries(connection, mailbox):
        theirs.setdefault(row.message, set()).add(row.number)
    messages: list[json_objects.JsonObject] = []
    events: list[json_objects.JsonObject] = []
    for message, numbers in theirs.items():
        found = message_detail.read_message(connection, message, numbers)
        if found is None:
            continue
        mine = found.deliveries
        own = found._replace(
            recipients=len(mine),
            opened_by=sum(one.opens.human + one.opens.proxied > 0 for one in mine),
            clicked_by=sum(one.clicks.human > 0 for one in mine),
            all_opens=json_objects.sum_counts(found.opens, *(one.opens for one in mine)),
            all_clicks=json_objects.sum_counts(found.clicks, *(one.clicks for one in mine)),
        )
        exported = json_objects.message_object(own) | {"reverse_path": found.reverse_path, "client": found.client}
        exported["sights"] = _observations(connection, message, numbers)
        if with_content:
            octets = deliveries.find_content(connection, message)
            exported["content"] = base64.b64encode(octets).decode("ascii") if octets is not None else None
        messages.append(exported)
        event = tables.event
        wanted = sa.select(event).where(event.c.message == message, event.c.number.in_(numbers)).order_by(event.c.id)
        events += (json_objects.event_object(row) for row in connection.execute(wanted).mappings())
    said = consent.find_consent(connection, mailbox)
    return {
        "address": mailbox,
        "messages": messages,
        "events": events,
        "suppressions": [_row_object(row) for row in _rows_about(connection, tables.suppression, mailbox)],
        "consent": {"consent": said["is_yes"], "source": said["source"], "at": json_objects.format_time(said["at"])}
        if said
        else None,
        "refusals": [json_objects.refusal_object(row) for row in refusals.find_about(connection, mailbox)],
        "audit": [_row_object(row) for row in audit_log.find_about(connection, mailbox)],
        "soft_failures": [_row_object(row) for row in _rows_about(connection, tables.soft_failure, mailbox)],
    }


def count_under_way(connection: sa.Connection, mailbox: str, now: datetime) -> int:
    """Counts deliveries to the address that are being attempted: their outcomes would name it again."""
    table = tables.delivery
    held = sa.select(sa.func.count()).where(_is_theirs(connection, mailbox), table.c.leased_until > now)
    return connection.scalar(held) or 0


def erase_deliveries(connection: sa.Connection, mailbox: str, now: datetime) -> ErasedCounts:
    """Erases a batch of deliveries with their events and attempts. Call again until it returns no deliveries.

    Mail that still waits is given up. Content is deleted, unless another recipient's delivery still needs it.
    """
    event, attempt, delivery = tables.event, tables.attempt, tables.delivery
    unwanted = identifying_strings([mailbox, address.canonical(mailbox)], with_local_part=True)
    done = ErasedCounts()
    for row in _deliveries(connection, mailbox, MAX_DELIVERIES):
        this = {"message": row.message, "number": row.number}
        blank: dict[str, Any] = {"recipient": "", "orcpt": "", "observations": [], "dsn_due": ""}  # Any: a row's values
        if row.next_attempt_at is not None:
            blank |= {"status": Status.EXPIRED, "kind": "soft", "category": "erased", "settled_at": now}
            blank |= {"next_attempt_at": None, "leased_by": "", "leased_until": None}
        message_words.delete_words(connection, [row.message])
        message_words.mark_due(connection, [row.message])
        connection.execute(sa.update(delivery).filter_by(**this).values(**blank))
        texts = connection.execute(sa.select(event.c.id, event.c.url, event.c.detail).filter_by(**this)).all()
        for one in texts:
            kept = {
                "url": redaction.redact_text(one.url, unwanted),
                "detail": redaction.redact_text(one.detail, unwanted),
            }
            gone = sa.update(event).where(event.c.id == one.id)
            connection.execute(gone.values(**kept, recipient="", ip="", user_agent=""))
        replies = connection.execute(sa.select(attempt.c.id, attempt.c.text).filter_by(**this)).all()
        for reply in replies:
            clean = {"text": redaction.redact_text(reply.text, unwanted), "conversation": ""}
            connection.execute(sa.update(attempt).where(attempt.c.id == reply.id).values(**clean))
        _redact_conversations(connection, row.message, unwanted)
        contents = _erase_message(connection, row.message, unwanted)
        # Logged requests contain the recipient.
        connection.execute(sa.delete(webhook_tables.webhook_log).filter_by(message=row.message))
        given_up = row.next_attempt_at is not None
        done += ErasedCounts(1, int(given_up), len(texts), len(replies), contents)
    return done


def erase_address_records(connection: sa.Connection, mailbox: str, *, keep_suppressions: bool) -> ErasedCounts:
    """Erases what is stored about the address itself. Suppressions and a "no" to tracking become pseudonyms, or are
    deleted as well."""
    policy = identities.policy_for(connection)
    count = consents = 0
    for table in (tables.suppression, tables.consent):
        mine = table.c.address.in_(policy.possible_names(mailbox))
        rows = connection.execute(sa.select(table).where(mine)).mappings().all()
        connection.execute(sa.delete(table).where(mine))
        if table is tables.suppression:
            count = len(rows)
        else:
            consents = len(rows)
        for row in rows:
            kept = dict(row) | {"address": policy.pseudonym(mailbox)}
            if table is tables.suppression:
                kept |= {"evidence": "", "message": ""}
            if keep_suppressions and not row.get("is_yes"):
                connection.execute(sa.insert(table), kept)
    audit_log.erase_recipient(connection, mailbox)
    refusals.erase_person(connection, mailbox)
    connection.execute(
        sa.delete(tables.soft_failure).where(tables.soft_failure.c.address.in_(policy.possible_names(mailbox)))
    )
    return ErasedCounts(suppressions=count, consents=consents)


def _redact_conversations(connection: sa.Connection, message: str, identifying: frozenset[str]) -> None:
    """Erases the address from the conversations about other recipients of the message: a reverse-path may name it."""
    attempt = tables.attempt
    others = sa.select(attempt.c.id, attempt.c.conversation).filter_by(message=message)
    for one in connection.execute(others.where(attempt.c.conversation != "")):
        clean = conversation.replace_texts(one.conversation, lambda line: redact(line.text, identifying))
        connection.execute(sa.update(attempt).where(attempt.c.id == one.id).values(conversation=clean))


def _erase_message(connection: sa.Connection, message: str, identifying: frozenset[str]) -> int:
    """Erases from the message what is this recipient's alone, and the address from what is shared with others.
    Returns 1 if its content was deleted."""
    table, delivery = tables.message, tables.delivery
    row = connection.execute(sa.select(table).where(table.c.id == message)).mappings().first()
    if row is None:
        return 0
    others = sa.select(delivery.c.number).where(delivery.c.message == message, delivery.c.recipient != "").limit(1)
    waits = sa.select(delivery.c.number).where(delivery.c.message == message, delivery.c.next_attempt_at.is_not(None))
    is_shared, is_needed = connection.execute(others).first() is not None, connection.execute(waits).first() is not None
    change: dict[str, Any] = {  # Any: a row's values
        "subject": redaction.redact_text(row["subject"], identifying) if is_shared else "",
        "author": redact(row["author"], identifying),
        "message_id": redact(row["message_id"], identifying),
        "meta": {name: redaction.redact_text(value, identifying) for name, value in row["meta"].items()}
        if is_shared
        else {},
        "tags": [redaction.redact_text(tag, identifying) for tag in row["tags"]],
        "links": [
            link | {name: redaction.redact_text(str(link.get(name, "")), identifying) for name in ("url", "text")}
            for link in row["links"]
        ],
    }
    if not is_needed:
        change |= {"plan": "", "reverse_path": redact(row["reverse_path"], identifying), "envid": ""}
        gone = content_files.delete_with_rows(connection, [message])
    connection.execute(sa.update(table).where(table.c.id == message).values(**change))
    message_labels.replace_labels(connection, {"id": message} | change)
    return gone if not is_needed else 0


def _is_theirs(connection: sa.Connection, mailbox: str) -> sa.ColumnElement[bool]:
    # A delivery keeps its recipient as the app wrote it, in any case.
    names = {*identities.policy_for(connection).possible_names(mailbox), mailbox} - {""}
    return tables.lower_recipient.in_(map(sa.func.lower, sorted(names)))


def _deliveries(
    connection: sa.Connection, mailbox: str, limit: int | None = None
) -> Sequence[sa.Row[str, int, datetime | None]]:
    table = tables.delivery
    wanted = sa.select(table.c.message, table.c.number, table.c.next_attempt_at).where(_is_theirs(connection, mailbox))
    return connection.execute(wanted.order_by(table.c.message).limit(limit)).all()


def _rows_about(connection: sa.Connection, table: sa.Table, mailbox: str) -> Sequence[sa.RowMapping]:
    mine = table.c.address.in_(identities.policy_for(connection).possible_names(mailbox))
    return connection.execute(sa.select(table).where(mine)).mappings().all()


def _observations(connection: sa.Connection, message: str, numbers: set[int]) -> list[json_objects.JsonObject]:
    """Observations that were stored beside the hits (`verdicts.record_observation`)."""
    table = tables.delivery
    wanted = sa.select(table.c.observations).where(table.c.message == message, table.c.number.in_(numbers))
    return [
        {
            "at": json_objects.format_time(columns.UtcTime().process_result_value(at, connection.dialect)),
            "what": what,
            "user_agent": user_agent,
            "ip": ip,
        }
        for noted in connection.scalars(wanted)
        for at, what, user_agent, ip in noted or ()
    ]


def _row_object(row: sa.RowMapping) -> json_objects.JsonObject:
    return {
        name: json_objects.format_time(value) if isinstance(value, datetime) else value
        for name, value in row.items()
        if name not in ("id", "address")
    }
