"""Counts over time: what happened in a span, by hour, day, stream, tag, domain or category. Roll-ups only are read.

A span costs the same however many events there were in it: whole days are read as days, the hours at its ends as
hours. The DSNs that we send ourselves (stream `notice`) are counted apart.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from relay.event_type import EventType
from relay.store.database import columns, packed_rows, roll_ups, tables
from relay.store.database.roll_up_tables import roll_up, roll_up_change
from relay.store.database.roll_ups import ALL, DAY_US, NOTICE_STREAM
from relay.store.database.tables import Status
from relay.store.tracking.hit_counts import HitCounts

HOUR, DAY, STREAM, TAG, DOMAIN, CATEGORY = GROUPS = ("hour", "day", "stream", "tag", "domain", "category")
_DAY = timedelta(days=1)
_FAILURES = (EventType.BOUNCED, EventType.DEFERRED, EventType.EXPIRED, EventType.SUPPRESSED)


class Totals(NamedTuple):
    """What happened in a span of time. `accepted` counts messages; the rest deliveries and hits."""

    accepted: int = 0
    delivered: int = 0
    deferred: int = 0
    bounced: int = 0
    expired: int = 0
    suppressed: int = 0
    unsubscribed: int = 0
    resubscribed: int = 0  # who subscribed again
    complained: int = 0
    opens: HitCounts = HitCounts()
    clicks: HitCounts = HitCounts()
    opened_by: int = 0  # deliveries that a person opened for the first time
    clicked_by: int = 0
    categories: Mapping[str, int] = {}  # why deliveries bounced


class Day(NamedTuple):
    """One UTC day's totals."""

    start: datetime
    totals: Totals


_PLAIN_TYPES = [name for name in Totals._fields if name in set(EventType)]
# As plain texts: members of an enumeration take four times as long to compare and to look up.
_HITS = _OPENED, _CLICKED = (EventType.OPENED.value, EventType.CLICKED.value)
_BOUNCED = EventType.BOUNCED.value


class QueueDepth(NamedTuple):
    """The queue's depth."""

    queued: int
    deferred: int
    next_due: datetime | None


class Selection(NamedTuple):
    """The counts to read: from a time, or the first one, up to a time, by full hours. `stream` None: all but our own
    notices'. A domain cannot be asked for together with a stream or a tag: they are not counted together."""

    start: datetime | None
    end: datetime | None = None
    stream: str | None = None
    tag: str | None = None
    domain: str | None = None


def read_totals(connection: sa.Connection, selection: Selection) -> Totals:
    """What happened in the span."""
    return _read_by_group(connection, selection, None).get(None, Totals())


def read_groups(
    connection: sa.Connection, selection: Selection, by: str, types: Sequence[EventType] = ()
) -> dict[Any, Totals]:
    """The same by one of GROUPS: by the start of an hour or a day (a datetime), else by name. Groups in which nothing
    happened are missing. By category, only what was not delivered is counted. With `types`, nothing
    else is."""
    return _read_by_group(connection, selection, by, types)


def queue_depth(connection: sa.Connection) -> QueueDepth:
    """How much is still to be delivered."""
    table = tables.delivery
    rows = connection.execute(
        sa.select(table.c.status, sa.func.count(), sa.func.min(table.c.next_attempt_at, type_=columns.UtcTime))
        .where(table.c.next_attempt_at.is_not(None))
        .group_by(table.c.status)
    ).all()
    depth = {status: count for status, count, _ in rows}
    return QueueDepth(
        depth.get(Status.QUEUED, 0), depth.get(Status.DEFERRED, 0), min((due for *_, due in rows), default=None)
    )


def floor_hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _read_by_group(
    connection: sa.Connection, selection: Selection, by: str | None, types: Sequence[EventType] = ()
) -> dict[Any, Totals]:
    dimension = _dimension(selection, by)
    found: dict[Any, list[_Count]] = {}
    # One after the other: the groups of all parts together would be sorted anew, which takes twice as long.
    for table, span in _parts(selection, dimension, ends_in_hours=by == HOUR):
        for count in packed_rows.read_rows(connection, _select_part(selection, by, types, table, span)):
            found.setdefault(count[0], []).append(count)
    is_time = by in (HOUR, DAY)
    return {_as_time(group) if is_time else group: _totals(counts) for group, counts in found.items()}


def _select_part(
    selection: Selection,
    by: str | None,
    types: Sequence[EventType],
    table: sa.Table,
    span: Sequence[sa.ColumnElement[bool]],
) -> "sa.Select[Any]":  # Any: columns of a _Count
    named = selection.tag if _dimension(selection, by) == TAG else selection.domain
    conditions = list(span)
    if named is not None:
        conditions.append(table.c.value == named)
    if selection.stream is None:
        conditions.append(table.c.stream != NOTICE_STREAM)
    else:
        conditions.append(table.c.stream == selection.stream)
    if types or by == CATEGORY:
        conditions.append(table.c.type.in_(types or _FAILURES))
    group = sa.null() if by is None else _group_key(table, by)
    keys = [table.c.type, table.c.detail] if by is None else [group, table.c.type, table.c.detail]
    sums = [sa.cast(sa.func.sum(table.c[name]), sa.BigInteger).label(name) for name in ("count", "uniques")]
    return (
        sa.select(group.label("group"), table.c.type, table.c.detail.label("kind"), *sums)
        .where(*conditions)
        .group_by(*keys)
    )


def _as_time(at_us: int) -> datetime:
    return datetime.fromtimestamp(at_us / 1_000_000, UTC)


def is_counted(selection: Selection, by: str | None) -> bool:
    """False if there are no such counts: by domain together with a stream (except our own notices') or a tag."""
    is_of_domain = selection.domain is not None or by == DOMAIN
    is_of_stream = selection.stream not in (None, NOTICE_STREAM) or by == STREAM
    return not is_of_domain or not (is_of_stream or selection.tag is not None or by == TAG)


def _dimension(selection: Selection, by: str | None) -> str:
    if not is_counted(selection, by):
        raise ValueError("a domain is not counted together with a stream or a tag")
    if selection.domain is not None or by == DOMAIN:
        return DOMAIN
    return TAG if selection.tag is not None or by == TAG else ALL


def _group_key(table: sa.Table, by: str) -> sa.ColumnElement[Any]:  # Any: a time or a name
    match by:
        case "hour":  # a number: there are more rows than hours
            return sa.type_coerce(table.c.start, sa.BigInteger)
        case "day":
            return sa.type_coerce(roll_ups.truncate(table.c.start, DAY_US), sa.BigInteger).label("day")
        case "stream":
            return table.c.stream
        case "tag" | "domain":
            return table.c.value
        case "category":
            return table.c.detail
    raise ValueError(f"not one of {', '.join(GROUPS)}: {by}")


def _parts(
    selection: Selection, dimension: str, *, ends_in_hours: bool
) -> Iterator[tuple[sa.Table, Sequence[sa.ColumnElement[bool]]]]:
    """The rows of a span: days where they are whole, hours at its ends, and changes that are not folded yet."""
    for period, start, end in _periods(selection.start, selection.end, ends_in_hours=ends_in_hours):
        those = (roll_up.c.period == period, roll_up.c.dimension == dimension)
        yield roll_up, (*those, *_time_conditions(roll_up, start, end))
    change = roll_up_change
    yield change, (change.c.dimension == dimension, *_time_conditions(change, selection.start, selection.end))


def _time_conditions(table: sa.Table, start: datetime | None, end: datetime | None) -> list[sa.ColumnElement[bool]]:
    span = [table.c.start >= floor_hour(start)] if start else []
    return [*span, table.c.start < end] if end else span


def _periods(
    start: datetime | None, end: datetime | None, *, ends_in_hours: bool
) -> Iterator[tuple[str, datetime | None, datetime | None]]:
    if ends_in_hours:
        yield HOUR, start, end
        return
    first = _midnight_from(floor_hour(start)) if start else None
    last = end.replace(hour=0, minute=0, second=0, microsecond=0) if end else None
    if first and last and first >= last:
        yield HOUR, start, end
        return
    yield DAY, first, last
    if first and first != start:
        yield HOUR, start, first
    if last and last != end:
        yield HOUR, last, end


def _midnight_from(hour: datetime) -> datetime:
    midnight = hour.replace(hour=0)
    return midnight if midnight == hour else midnight + _DAY


_Count = Sequence[Any]  # Any: group, type, detail, count, uniques


def _totals(counts: Sequence[_Count]) -> Totals:
    by_type: dict[str, int] = {}
    uniques: dict[str, int] = {}
    hits: dict[tuple[str, str], int] = {}
    categories: dict[str, int] = {}
    for _, type_, detail, count, unique in counts:
        by_type[type_] = by_type.get(type_, 0) + count
        if unique:
            uniques[type_] = uniques.get(type_, 0) + unique
        if type_ in _HITS:
            hits[type_, detail] = hits.get((type_, detail), 0) + count
        elif type_ == _BOUNCED:
            categories[detail] = categories.get(detail, 0) + count
    opens, clicks = (HitCounts(*[hits.get((type_, verdict), 0) for verdict in HitCounts._fields]) for type_ in _HITS)
    return Totals(
        **{name: by_type[name] for name in _PLAIN_TYPES if name in by_type},
        opens=opens,
        clicks=clicks,
        opened_by=uniques.get(_OPENED, 0),
        clicked_by=uniques.get(_CLICKED, 0),
        categories=dict(sorted(categories.items(), key=lambda one: (-one[1], one[0]))),
    )
