"""Events, a page at a time, the newest or the oldest first.

In: a search.  Out: rows as `json_objects.event_object` takes them. A page looks at no more than MAX_SCANNED
events: it may have few items, or none, and a cursor to go on with.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from relay import ids
from relay.event_type import EventType
from relay.store.database import row_pages, tables
from relay.store.views import message_search

MAX_SCANNED = 20_000  # events a page
HIT_TYPES = (EventType.OPENED, EventType.CLICKED)
_NAMES = (
    "id",
    "type",
    "at",
    "message",
    "number",
    "recipient",
    "verdict",
    "reasons",
    "url",
    "user_agent",
    "ip",
    "detail",
)
_COLUMNS = [tables.event.c[name] for name in _NAMES]
Condition = sa.ColumnElement[bool]


class EventSearch(NamedTuple):
    """A search for events: all conditions must hold. Empty: every event."""

    types: tuple[EventType, ...] = ()  # one of them
    message: str = ""
    number: int | None = None  # of the message's delivery
    recipient: str = ""  # a whole address
    verdict: str = ""
    stream: str = ""  # the message's
    tag: str = ""  # the message's
    since: datetime | None = None
    until: datetime | None = None  # before then


class EventPage(NamedTuple):
    """A page of events; `next` is the cursor of the page after it, "" at the end."""

    rows: list[sa.RowMapping]
    next: str


class _EventScan(NamedTuple):
    """A scan of events along the index that `conditions` use, in the order of `key`."""

    conditions: list[Condition]
    key: sa.ColumnElement[str]


def list_events(
    connection: sa.Connection, search: EventSearch, limit: int, cursor: str = "", *, oldest_first: bool = False
) -> EventPage:
    """Events that the search finds, after the cursor."""
    rest = message_search.events_of(search.stream, search.tag)
    if search.verdict:
        rest.append(tables.event.c.verdict == search.verdict)
    rows: list[sa.RowMapping] = []
    ends: list[str] = []
    for scan in _scans(connection, search):
        span = [*scan.conditions, *row_pages.time_span(scan.key, search.since, search.until)]
        if cursor:
            span.append(scan.key > cursor if oldest_first else scan.key < cursor)
        order = scan.key.asc() if oldest_first else scan.key.desc()
        if rest and (end := _scan_end(connection, span, order)):
            ends.append(end)
            span.append(scan.key <= end if oldest_first else scan.key >= end)
        wanted = sa.select(*_COLUMNS).where(*span, *rest).order_by(order).limit(limit + 1)
        rows += connection.execute(wanted).mappings()
    rows.sort(key=lambda row: str(row["id"]), reverse=not oldest_first)
    end = (min(ends) if oldest_first else max(ends)) if ends else ""  # after it not every scan has looked
    if end:
        rows = [row for row in rows if (row["id"] <= end if oldest_first else row["id"] >= end)]
    if len(rows) > limit:
        return EventPage(rows[:limit], rows[limit - 1]["id"])
    return EventPage(rows, end)


def read_events(connection: sa.Connection, event_ids: Sequence[str]) -> list[sa.RowMapping]:
    """Those events, in the order of their ids."""
    event = tables.event
    wanted = sa.select(*_COLUMNS).where(event.c.id.in_(event_ids)).order_by(event.c.id)
    return list(connection.execute(wanted).mappings())


def list_event_ids(connection: sa.Connection, since: datetime, limit: int) -> list[str]:
    """The ids of events since that time, the newest first."""
    event = tables.event
    wanted = sa.select(event.c.id).where(event.c.id >= ids.lowest_at(since)).order_by(event.c.id.desc()).limit(limit)
    return list(connection.scalars(wanted))


def _scan_end(connection: sa.Connection, span: list[Condition], order: Any) -> str:  # Any: as order_by takes it
    last: str | None = connection.scalar(
        sa.select(tables.event.c.id).where(*span).order_by(order).offset(MAX_SCANNED).limit(1)
    )
    return last or ""


def _scans(connection: sa.Connection, search: EventSearch) -> list[_EventScan]:
    event, delivery = tables.event, tables.delivery
    unindexed = event.c.id + sa.literal_column(
        "''", sa.String
    )  # otherwise SQLite would use the key's index, for the order
    types: Sequence[EventType] = search.types or (HIT_TYPES if search.verdict else ())
    if search.message:
        mine = [event.c.message == search.message]
        if search.number is not None:
            mine.append(event.c.number == search.number)
        return [_EventScan(mine + _type_conditions(types) + _recipient_conditions(connection, search), unindexed)]
    if search.recipient:
        theirs = sa.select(delivery.c.message, delivery.c.number).where(
            message_search.matches_recipient(connection, search.recipient)
        )
        return [
            _EventScan([sa.tuple_(event.c.message, event.c.number).in_(theirs), *_type_conditions(types)], unindexed)
        ]
    if types:
        return [_EventScan([event.c.type == one], event.c.id) for one in dict.fromkeys(types)]
    return [_EventScan([], event.c.id)]


def _type_conditions(types: Sequence[EventType]) -> list[Condition]:
    # Without an index: one message or recipient has few.
    return [(tables.event.c.type + sa.literal_column("''", sa.String)).in_(types)] if types else []


def _recipient_conditions(connection: sa.Connection, search: EventSearch) -> list[Condition]:
    if not search.recipient:
        return []
    delivery = tables.delivery
    theirs = sa.select(delivery.c.number).where(
        delivery.c.message == search.message, message_search.matches_recipient(connection, search.recipient)
    )
    return [tables.event.c.number.in_(theirs)]
