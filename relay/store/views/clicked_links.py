"""The links that were clicked most: by URL over all messages, from roll-ups; of one message by link; by tag, latest.

By URL a span costs the same however many clicks there were: of each hour or day the most clicked ones are read, which
stand first in an index. The links of one message, and those of a tag, are counted from the clicks themselves, the
latest MAX_CLICKS of them.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from relay import ids
from relay.event_type import EventType
from relay.hit_verdict import CLICK_VERDICTS, HUMAN
from relay.store.database import columns, packed_rows, roll_ups, tables
from relay.store.database.roll_up_tables import roll_up, roll_up_change
from relay.store.views import message_search, statistics

MAX_CLICKS = 20_000  # so many of the latest are counted where roll-ups do not have them
MAX_ROWS_OF_A_PERIOD = 300  # links by stream and verdict, of an hour or a day
_MAX_DAYS = 400
_MAX_CHANGES = 5_000  # that are not folded yet
_HOUR = timedelta(hours=1)


class LinkFilter(NamedTuple):
    """The clicks that count. Empty: all."""

    since: datetime | None = None
    until: datetime | None = None  # before then
    stream: str = ""
    tag: str = ""
    message: str = ""


class ClickedLink(NamedTuple):
    """A URL, or a link of one message, and its clicks."""

    url: str
    human: int
    machine: int
    unknown: int
    unique: int  # deliveries of which a person clicked
    messages: int | None  # None: not counted
    last_at: datetime  # of the last click; from roll-ups its hour, or its UTC day
    link: int | None = None  # its number, in one message


class ClickedLinks(NamedTuple):
    """A page. `counted_since`: the time of the earliest click that is counted, if not all are. `is_cut`: of some hours
    or days only the most clicked links are counted."""

    items: list[ClickedLink]
    has_more: bool
    counted_since: datetime | None = None
    is_cut: bool = False


def list_clicked_links(
    connection: sa.Connection, link_filter: LinkFilter, limit: int, offset: int = 0, now: datetime | None = None
) -> ClickedLinks:
    """Links by the number of clicks by people, most first."""
    if link_filter.tag or link_filter.message:
        return _count_clicks(connection, link_filter, limit, offset)
    return _read_roll_ups(connection, link_filter, limit, offset, now or datetime.now(UTC))


class _ClickSums:
    """The clicks of one URL, as they are added up."""

    def __init__(self) -> None:
        self.clicks = dict.fromkeys(CLICK_VERDICTS, 0)
        self.unique = 0
        self.last_us = 0

    def add(self, start_us: int, verdict: str, count: int, uniques: int) -> None:
        self.clicks[verdict] = self.clicks.get(verdict, 0) + count
        self.unique += uniques
        if count > 0:
            self.last_us = max(self.last_us, start_us)

    def last_at(self) -> datetime:
        return datetime.fromtimestamp(self.last_us / 1_000_000, UTC)


def _read_roll_ups(
    connection: sa.Connection, link_filter: LinkFilter, limit: int, offset: int, now: datetime
) -> ClickedLinks:
    found: dict[str, _ClickSums] = {}
    is_cut = False
    most_clicked = (
        _select_counts(roll_up, link_filter.stream)
        .where(roll_up.c.period == sa.bindparam("period"), roll_up.c.start == sa.bindparam("start"))
        .order_by(roll_up.c.count.desc())
        .limit(MAX_ROWS_OF_A_PERIOD)
    )
    not_folded = _select_counts(roll_up_change, link_filter.stream).where(
        *_time_conditions(roll_up_change, link_filter)
    )
    rows = list(packed_rows.read_rows(connection, not_folded.limit(_MAX_CHANGES)))
    periods = [{"period": period, "start": start} for period, start in _read_periods(connection, link_filter, now)]
    for of_one in packed_rows.read_rows_of_each(connection, most_clicked, periods):
        is_cut = is_cut or len(of_one) == MAX_ROWS_OF_A_PERIOD
        rows += of_one
    for url, *counts in rows:
        if url not in found:
            found[url] = _ClickSums()
        found[url].add(*counts)
    clicked = [(url, sums) for url, sums in found.items() if any(sums.clicks.values())]
    clicked.sort(key=lambda one: (-one[1].clicks[HUMAN], -sum(one[1].clicks.values()), one[0]))
    page = [
        ClickedLink(url, **sums.clicks, unique=sums.unique, messages=None, last_at=sums.last_at())
        for url, sums in clicked[offset : offset + limit]
    ]
    return ClickedLinks(page, len(clicked) > offset + limit, is_cut=is_cut)


def _select_counts(table: sa.Table, stream: str) -> "sa.Select[Any]":  # Any: URL, hour or day, verdict, counts
    those = [table.c.dimension == sa.literal_column("'link'")]  # a literal, as in the condition of the index
    if stream:
        those.append(table.c.stream == stream)
    start = sa.type_coerce(table.c.start, sa.BigInteger).label("start_us")
    return sa.select(table.c.value, start, *(table.c[name] for name in ("detail", "count", "uniques"))).where(*those)


def _time_conditions(table: sa.Table, link_filter: LinkFilter) -> list[sa.ColumnElement[bool]]:
    span = [table.c.start >= statistics.floor_hour(link_filter.since)] if link_filter.since else []
    return [*span, table.c.start < link_filter.until] if link_filter.until else span


def _read_periods(connection: sa.Connection, link_filter: LinkFilter, now: datetime) -> list[tuple[str, datetime]]:
    """The hours and days of the span: today, and a day of which it has a part, by hours."""
    table = roll_up.c
    earliest = connection.scalar(
        sa.select(sa.func.min(table.start, type_=columns.UtcTime)).where(
            table.period == roll_ups.DAY, table.dimension == sa.literal_column("'link'")
        )
    )
    if earliest is None:
        return []
    end = min(link_filter.until or now + _HOUR, now + _HOUR)
    start = max(
        statistics.floor_hour(link_filter.since) if link_filter.since else earliest,
        earliest,
        end - _MAX_DAYS * 24 * _HOUR,
    )
    start, found = statistics.floor_hour(start), []
    while start < end:
        tomorrow = start.replace(hour=0) + 24 * _HOUR
        if start.hour == 0 and tomorrow <= min(end, now):
            found.append((roll_ups.DAY, start))
            start = tomorrow
        else:
            found.append((roll_ups.HOUR, start))
            start += _HOUR
    return found


def _count_clicks(connection: sa.Connection, link_filter: LinkFilter, limit: int, offset: int) -> ClickedLinks:
    event = tables.event
    span = [tables.is_click if link_filter.message else event.c.type == EventType.CLICKED]
    if link_filter.message:
        span.append(event.c.message == link_filter.message)
    if link_filter.since is not None:
        span.append(event.c.id >= ids.lowest_at(link_filter.since))
    if link_filter.until is not None:
        span.append(event.c.id < ids.lowest_at(link_filter.until))
    first = connection.scalar(
        sa.select(event.c.id).where(*span).order_by(event.c.id.desc()).offset(MAX_CLICKS).limit(1)
    )
    if first:
        span.append(event.c.id > first)
    human = sa.func.count(sa.case((event.c.verdict == HUMAN, 1)))
    by_person = event.c.message + ":" + sa.cast(sa.func.coalesce(event.c.number, -1), sa.String)
    query = (
        sa.select(
            event.c.url,
            human.label("human"),
            *(
                sa.func.count(sa.case((event.c.verdict == verdict, 1))).label(verdict)
                for verdict in CLICK_VERDICTS
                if verdict != HUMAN
            ),
            sa.func.count(sa.distinct(sa.case((event.c.verdict == HUMAN, by_person)))).label("unique"),
            sa.func.count(sa.distinct(event.c.message)).label("messages"),
            sa.func.max(event.c.at, type_=columns.UtcTime).label("last_at"),
            *([event.c.link] if link_filter.message else []),
        )
        .where(*span, *message_search.events_of(link_filter.stream, link_filter.tag))
        .group_by(event.c.url, *([event.c.link] if link_filter.message else []))
        .order_by(human.desc(), sa.func.count().desc(), event.c.url)
        .limit(limit + 1)
        .offset(offset)
    )
    rows = [ClickedLink(*row) for row in connection.execute(query)]
    return ClickedLinks(rows[:limit], len(rows) > limit, ids.time_of(first) if first else None)
