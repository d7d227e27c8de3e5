"""The links that were clicked most, by URL, over all messages."""

from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from relay import ids
from relay.event_type import EventType
from relay.store.database import columns, tables
from relay.store.views import message_search

MAX_CLICKS = 20_000  # so many of the latest are counted


class LinkFilter(NamedTuple):
    """The clicks that count. Empty: all."""

    since: datetime | None = None
    until: datetime | None = None  # before then
    stream: str = ""
    tag: str = ""
    message: str = ""


class ClickedLink(NamedTuple):
    """A URL and its clicks."""

    url: str
    human: int
    machine: int
    unknown: int
    unique: int  # deliveries of which a person clicked
    messages: int
    last_at: datetime


class ClickedLinks(NamedTuple):
    """A page. `counted_since`: the time of the earliest click that is counted, if not all are."""

    items: list[ClickedLink]
    has_more: bool
    counted_since: datetime | None


def list_clicked_links(connection: sa.Connection, wanted: LinkFilter, limit: int, offset: int = 0) -> ClickedLinks:
    """URLs by the number of clicks by people, most first."""
    event = tables.event
    span = [tables.is_click if wanted.message else event.c.type == EventType.CLICKED]
    if wanted.message:
        span.append(event.c.message == wanted.message)
    if wanted.since is not None:
        span.append(event.c.id >= ids.lowest_at(wanted.since))
    if wanted.until is not None:
        span.append(event.c.id < ids.lowest_at(wanted.until))
    first = connection.scalar(
        sa.select(event.c.id).where(*span).order_by(event.c.id.desc()).offset(MAX_CLICKS).limit(1)
    )
    if first:
        span.append(event.c.id > first)
    human = sa.func.count(sa.case((event.c.verdict == "human", 1)))
    by_person = event.c.message + ":" + sa.cast(sa.func.coalesce(event.c.number, -1), sa.String)
    query = (
        sa.select(
            event.c.url,
            human.label("human"),
            *(
                sa.func.count(sa.case((event.c.verdict == verdict, 1))).label(verdict)
                for verdict in ("machine", "unknown")
            ),
            sa.func.count(sa.distinct(sa.case((event.c.verdict == "human", by_person)))).label("unique"),
            sa.func.count(sa.distinct(event.c.message)).label("messages"),
            sa.func.max(event.c.at, type_=columns.UtcTime).label("last_at"),
        )
        .where(*span, *message_search.events_of(wanted.stream, wanted.tag))
        .group_by(event.c.url)
        .order_by(human.desc(), sa.func.count().desc(), event.c.url)
        .limit(limit + 1)
        .offset(offset)
    )
    rows = [ClickedLink(*row) for row in connection.execute(query)]
    return ClickedLinks(rows[:limit], len(rows) > limit, ids.time_of(first) if first else None)
