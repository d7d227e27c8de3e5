"""The streams that a recipient wants, changed by the preference link of a message.

Each change is an event, and is recorded once.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from relay import suppression_reason
from relay.event_type import EventType
from relay.store import events
from relay.store.database import delivery_rows, tables
from relay.store.events import NewEvent
from relay.store.recipients import suppressions

_MAX_RECENT = 1000  # deliveries whose streams are offered


class PreferenceChange(NamedTuple):
    """A recipient's choice. `id` is that of its event, so that recording it twice changes nothing."""

    id: str
    at: datetime
    message: str
    number: int
    keep: list[str] = []  # noqa: RUF012  a NamedTuple's, and never changed
    leave: list[str] = []  # noqa: RUF012
    leave_all: bool = False
    undo: bool = False  # keep the message's own stream
    user_agent: str = ""
    ip: str = ""


class Stream(NamedTuple):
    """A kind of mail that the recipient has had."""

    name: str
    is_wanted: bool


class StreamPreferences(NamedTuple):
    """Which streams of a sender a recipient wants."""

    streams: list[Stream]
    from_all: bool  # unsubscribed from all of them


def read_preferences(connection: sa.Connection, message: str, number: int, now: datetime) -> StreamPreferences:
    """The streams that the recipient behind a delivery has had mail of, by name."""
    found = delivery_rows.find_recipient(connection, message, number)
    if found is None:
        return StreamPreferences([], from_all=False)
    delivery = tables.delivery
    recent = (
        sa.select(delivery.c.message)
        .where(tables.lower_recipient == sa.func.lower(found.recipient))
        .order_by(delivery.c.message.desc())
        .limit(_MAX_RECENT)
        .subquery()
    )
    names = connection.scalars(
        sa.select(tables.message.c.stream).distinct().where(tables.message.c.id.in_(sa.select(recent.c.message)))
    )
    left = suppressions.find_unsubscribed_streams(connection, found.recipient, now)
    from_all = None in left
    return StreamPreferences([Stream(name, not from_all and name not in left) for name in sorted(names)], from_all)


def apply_change(connection: sa.Connection, choice: PreferenceChange) -> None:
    """Records a choice. Raises UnknownDeliveryError."""
    if connection.scalar(sa.select(tables.event.c.id).where(tables.event.c.id == choice.id)):
        return
    found = delivery_rows.find_recipient(connection, choice.message, choice.number)
    if found is None:
        delivery_rows.raise_if_recent(choice.message, choice.at)
        return
    left = suppressions.find_unsubscribed_streams(connection, found.recipient, choice.at)
    leave: list[str | None] = [None] if None not in left else []
    if not choice.leave_all:
        leave = [name for name in choice.leave if name not in left and None not in left]
    keep = [found.stream] if choice.undo else choice.keep
    back = [] if choice.leave_all else [name for name in keep if name in left or None in left]
    for stream in leave:
        suppressions.add_suppression(
            connection,
            found.recipient,
            reason=suppression_reason.UNSUBSCRIBE,
            at=choice.at,
            stream=stream,
            evidence=choice.user_agent,
            message=choice.message,
        )
    if back and None in left:  # all streams were left: those that are not kept are left by name
        suppressions.remove_suppressions(
            connection, found.recipient, scope=suppression_reason.ALL, reason=suppression_reason.UNSUBSCRIBE
        )
        for stream in set(choice.leave) - left:
            suppressions.add_suppression(
                connection, found.recipient, reason=suppression_reason.UNSUBSCRIBE, at=choice.at, stream=stream
            )
    for stream in back:
        suppressions.remove_suppressions(
            connection,
            found.recipient,
            scope=suppression_reason.STREAM,
            stream=stream,
            reason=suppression_reason.UNSUBSCRIBE,
        )
    if leave:
        _append_event(connection, choice, EventType.UNSUBSCRIBED, found.recipient, leave)
    elif back:
        _append_event(connection, choice, EventType.RESUBSCRIBED, found.recipient, back)
    if found.stream in leave or None in leave:
        delivery_rows.update_delivery(
            connection, choice.message, choice.number, unsubscribed_at=found.unsubscribed_at or choice.at
        )
    elif found.stream in back:
        delivery_rows.update_delivery(connection, choice.message, choice.number, unsubscribed_at=None)


def _append_event(
    connection: sa.Connection, choice: PreferenceChange, type_: EventType, recipient: str, streams: Sequence[str | None]
) -> None:
    names = ["all" if name is None else name or "default" for name in streams]
    event = NewEvent(
        id=choice.id,
        type=type_,
        at=choice.at,
        message=choice.message,
        number=choice.number,
        recipient=recipient,
        verdict="human",
        reasons=["page"],
        user_agent=choice.user_agent,
        ip=choice.ip,
        detail="streams: " + ", ".join(names),
    )
    events.append_events(connection, [event])
