"""Makes the roll-ups anew from the events that are there, some hours in each transaction, while the server runs.

Counts from before the first event that is left stay: their events have been deleted, and they are all that is known.
"""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from relay import ids
from relay.store.database import roll_ups, tables
from relay.store.database.roll_up_tables import roll_up, roll_up_change
from relay.store.database.roll_ups import DAY_US, RollUpKey, StreamAndTags

_HOUR = timedelta(hours=1)
_MAX_HOURS, _MAX_EVENTS = 48, 10_000  # in a transaction, before it ends: meanwhile nobody else writes to SQLite


class RebuildStep(NamedTuple):
    """A step of `rebuild_next_hours`: how many events were counted, and up to when; None: there are no more. A step
    that is not `done` is to be made again: another process was at the roll-ups."""

    events: int
    until: datetime | None
    done: bool = True


def rebuild_next_hours(connection: sa.Connection, after: datetime | None) -> RebuildStep:
    """Counts the events of the next hours that have any, from `after` on; call again with the step's `until`. It is to
    be the first of its transaction."""
    if connection.dialect.name == "postgresql":
        # One snapshot: what others commit meanwhile stands in their changes, and in none of the events seen here.
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    if not roll_ups.lock(connection):
        return RebuildStep(0, after, done=False)
    start, events = after, 0
    counts: dict[RollUpKey, tuple[int, int]] = {}
    for _ in range(_MAX_HOURS):
        hour = _next_hour(connection, after)
        if hour is None:
            if start is not None:
                _replace_counts(connection, start, None, counts)
            return RebuildStep(events, None)
        found, how_many = _count_events(connection, hour)
        events += how_many
        counts |= found
        start, after = start or hour, hour + _HOUR
        if events >= _MAX_EVENTS:
            break
    assert start is not None
    _replace_counts(connection, start, after, counts)
    return RebuildStep(events, after)


def _next_hour(connection: sa.Connection, after: datetime | None) -> datetime | None:
    """The next hour with an event."""
    event = tables.event
    first = ids.lowest_at(after) if after else ""
    found = connection.scalar(sa.select(sa.func.min(event.c.id)).where(event.c.id >= first))
    return None if found is None else roll_ups.hour_of(found, datetime.now(UTC))


def _count_events(connection: sa.Connection, hour: datetime) -> tuple[dict[RollUpKey, tuple[int, int]], int]:
    """The counts of an hour, and how many events there were."""
    event, message = tables.event, tables.message
    domain = sa.func.substr(event.c.recipient, sa.func.length(_up_to_at(connection, event.c.recipient)) + 1)
    columns = [
        message.c.stream.label("stream"),
        sa.cast(message.c.tags, sa.Text).label("tags"),
        sa.cast(event.c.reasons, sa.Text).label("reasons"),
        domain.label("domain"),
        *(event.c[name] for name in ("type", "verdict", "implies_open", "first_open", "first_click")),
    ]
    rows = (
        sa.select(*columns)
        .join(message, message.c.id == event.c.message)
        .where(event.c.id >= ids.lowest_at(hour), event.c.id < ids.lowest_at(hour + _HOUR))
        .subquery()
    )
    grouped = sa.select(rows, sa.func.count().label("how_many")).group_by(*rows.c)
    counts: Counter[RollUpKey] = Counter()
    uniques: Counter[RollUpKey] = Counter()
    events = 0
    for row in connection.execute(grouped).mappings():
        groups = StreamAndTags(row["stream"], json.loads(row["tags"]))
        same = {**row, "recipient": f"@{row['domain']}" if row["domain"] else "", "reasons": json.loads(row["reasons"])}
        events += row["how_many"]
        for key, is_unique in roll_ups.event_keys(hour, same, groups):
            counts[key] += row["how_many"]
            uniques[key] += row["how_many"] * is_unique
    return {key: (count, uniques[key]) for key, count in counts.items()}, events


def _up_to_at(connection: sa.Connection, recipient: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
    """An address up to its last @; all of what has none."""
    if connection.dialect.name == "postgresql":
        return sa.func.coalesce(sa.func.substring(recipient, sa.literal_column("'^.*@'")), recipient)
    without = sa.func.rtrim(recipient, sa.func.replace(recipient, sa.literal_column("'@'"), sa.literal_column("''")))
    return sa.case((without == sa.literal_column("''"), recipient), else_=without)


def _replace_counts(
    connection: sa.Connection, start: datetime, end: datetime | None, counts: dict[RollUpKey, tuple[int, int]]
) -> None:
    """Writes the hours from `start` up to `end`, and the days that they are of. No end: all later ones."""
    last = end or datetime.max.replace(tzinfo=UTC)
    midnight = start.replace(hour=0)
    for table, first, period in (
        (roll_up, start, roll_ups.HOUR),
        (roll_up, midnight, roll_ups.DAY),
        (roll_up_change, start, ""),
    ):
        old = sa.delete(table).where(table.c.start >= first, table.c.start < last)
        connection.execute(old.where(*_of_period(period)) if period else old)
    rows = list(_rows(counts))
    if rows:
        connection.execute(sa.insert(roll_up), rows)
    names = RollUpKey._fields
    by = [roll_ups.truncate(roll_up.c.start, DAY_US) if name == "start" else roll_up.c[name] for name in names]
    sums = [sa.func.sum(roll_up.c[name]) for name in ("count", "uniques")]
    hours = (
        sa.select(sa.literal_column(f"'{roll_ups.DAY}'"), *by, *sums)
        .where(*_of_period(roll_ups.HOUR), roll_up.c.start >= midnight, roll_up.c.start < _day_after(last))
        .group_by(*by)
    )
    connection.execute(sa.insert(roll_up).from_select(["period", *names, "count", "uniques"], hours))


def _of_period(period: str) -> tuple[sa.ColumnElement[bool], ...]:
    # With the dimensions named, the key of the table leads to the times.
    return roll_up.c.period == period, roll_up.c.dimension.in_((roll_ups.ALL, roll_ups.TAG, roll_ups.DOMAIN))


def _day_after(end: datetime) -> datetime:
    """The end of the day that the hour before `end` is of."""
    if end.year == datetime.max.year:
        return end
    return (end - _HOUR).replace(hour=0) + timedelta(days=1)


def _rows(counts: dict[RollUpKey, tuple[int, int]]) -> Iterator[dict[str, Any]]:  # Any: a row's values
    for key, (count, uniques) in counts.items():
        yield key._asdict() | {"period": roll_ups.HOUR, "count": count, "uniques": uniques}
