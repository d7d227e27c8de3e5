"""Counts over time: what happened since when, by day, and how much still waits.

Ids are in order of time, so "since" is a range of the primary key.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from relay import ids
from relay.event_type import EventType
from relay.store.database import tables
from relay.store.database.tables import Status
from relay.store.tracking.hit_counts import HitCounts

_DAY_US = 86_400_000_000

# A person's click where no open was seen stands for one.
_IMPLIED = sa.and_(tables.event.c.type == EventType.CLICKED, tables.event.c.implies_open)
_OPENED = sa.or_(tables.event.c.type == EventType.OPENED, _IMPLIED)


def count_accepted(connection: sa.Connection, since: datetime | None, until: datetime | None) -> int:
    """How many messages were accepted in that time."""
    table = tables.message
    wanted = sa.select(sa.func.count()).select_from(table)
    if since is not None:
        wanted = wanted.where(table.c.id >= ids.lowest_at(since))
    if until is not None:
        wanted = wanted.where(table.c.id < ids.lowest_at(until))
    return connection.scalar(wanted) or 0


class Totals(NamedTuple):
    """What happened in a span of time. `accepted` counts messages; the rest deliveries and hits."""

    accepted: int
    delivered: int
    deferred: int
    bounced: int  # with the expired
    suppressed: int
    unsubscribed: int
    complained: int
    opens: HitCounts
    clicks: HitCounts
    opened_by: int  # deliveries that a person opened, however often
    clicked_by: int


class Day(NamedTuple):
    """One UTC day's totals."""

    start: datetime
    totals: Totals


class QueueDepth(NamedTuple):
    """The queue's depth."""

    queued: int
    deferred: int
    next_due: datetime | None


def totals_since(connection: sa.Connection, start: datetime) -> Totals:
    """Everything since then."""
    event = tables.event
    rows = connection.execute(
        sa.select(event.c.type, event.c.verdict, sa.func.count())
        .where(event.c.id >= ids.lowest_at(start))
        .group_by(event.c.type, event.c.verdict)
    )
    counts = {(type_, verdict): count for type_, verdict, count in rows}
    delivery = event.c.message + ":" + sa.cast(event.c.number, sa.String)
    by_person = sa.and_(event.c.id >= ids.lowest_at(start), event.c.verdict.in_(["human", "proxied"]))
    people: dict[str, int] = {
        type_: connection.scalar(sa.select(sa.func.count(sa.distinct(delivery))).where(by_person, is_one)) or 0
        for type_, is_one in (
            (EventType.OPENED, _OPENED),
            (EventType.CLICKED, event.c.type == EventType.CLICKED),
        )
    }
    implied = sa.select(sa.func.count()).where(event.c.id >= ids.lowest_at(start), _IMPLIED)
    counts[EventType.OPENED, "human"] = counts.get((EventType.OPENED, "human"), 0) + (connection.scalar(implied) or 0)
    return _totals(counts, people)


def totals_by_day(connection: sa.Connection, first: datetime, count: int) -> list[Day]:
    """The totals of each of that many UTC days, from midnight `first` on. `opened_by` and `clicked_by` are 0."""
    event = tables.event
    # A literal: PostgreSQL does not see that two parameters are the same expression in SELECT and GROUP BY.
    day = sa.type_coerce(event.c.at, sa.BigInteger) // sa.literal_column(str(_DAY_US), sa.BigInteger)
    rows = connection.execute(
        sa.select(day, event.c.type, event.c.verdict, sa.func.count())
        .where(event.c.id >= ids.lowest_at(first))
        .group_by(day, event.c.type, event.c.verdict)
    )
    found: dict[int, dict[tuple[str, str], int]] = {}
    for at, type_, verdict, how_many in rows:
        found.setdefault(at, {})[type_, verdict] = how_many
    implied = sa.select(day, sa.func.count()).where(event.c.id >= ids.lowest_at(first), _IMPLIED).group_by(day)
    for at, how_many in connection.execute(implied):
        counts = found.setdefault(at, {})
        counts[EventType.OPENED, "human"] = counts.get((EventType.OPENED, "human"), 0) + how_many
    start = int(first.timestamp()) // 86_400
    return [Day(first + timedelta(days=n), _totals(found.get(start + n, {}), {})) for n in range(count)]


def queue_depth(connection: sa.Connection) -> QueueDepth:
    """How much is still to be delivered."""
    table = tables.delivery
    rows = connection.execute(
        sa.select(table.c.status, sa.func.count(), sa.func.min(table.c.next_attempt_at, type_=tables.UtcTime))
        .where(table.c.next_attempt_at.is_not(None))
        .group_by(table.c.status)
    ).all()
    depth = {status: count for status, count, _ in rows}
    return QueueDepth(
        depth.get(Status.QUEUED, 0), depth.get(Status.DEFERRED, 0), min((due for *_, due in rows), default=None)
    )


def _totals(counts: dict[tuple[str, str], int], people: dict[str, int]) -> Totals:
    def of(*types: EventType) -> int:
        return sum(count for (type_, _), count in counts.items() if type_ in types)

    def tally(type_: EventType) -> HitCounts:
        return HitCounts(*(counts.get((type_, verdict), 0) for verdict in HitCounts._fields))

    return Totals(
        accepted=of(EventType.ACCEPTED),
        delivered=of(EventType.DELIVERED),
        deferred=of(EventType.DEFERRED),
        bounced=of(EventType.BOUNCED, EventType.EXPIRED),
        suppressed=of(EventType.SUPPRESSED),
        unsubscribed=of(EventType.UNSUBSCRIBED),
        complained=of(EventType.COMPLAINED),
        opens=tally(EventType.OPENED),
        clicks=tally(EventType.CLICKED),
        opened_by=people.get(EventType.OPENED, 0),
        clicked_by=people.get(EventType.CLICKED, 0),
    )
