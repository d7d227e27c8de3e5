"""Makes the roll-ups again from the stored events, some hours in each transaction, while the server runs.

Counts from before the first stored event stay, because their events have been deleted.
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
_FOREVER = datetime.max.replace(tzinfo=UTC)
_MAX_HOURS, _MAX_EVENTS = 48, 10_000  # in a transaction, before it ends: meanwhile nobody else writes to SQLite


class RebuildStep(NamedTuple):
    """A step of `rebuild_next_hours`: how many events were counted, and up to when; None: there are no more. A step
    that is not done is to be made again: another process changed the roll-ups meanwhile."""

    events: int
    until: datetime | None
    is_done: bool = True


def rebuild_next_hours(connection: sa.Connection, after: datetime | None) -> RebuildStep:
    """Counts the events of the next hours that have any, from `after` on; call again with the step's `until`. It is to
    be the first of its transaction."""
    if connection.dialect.name == "postgresql":
        # One snapshot: what others commit meanwhile stands in their changes, and in none of the events seen here.
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    if not roll_ups.lock(connection):
        return RebuildStep(0, after, is_done=False)
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
        *(event.c[name] for name in ("type", "verdict", "implies_open", "first_open", "first_click", "first_of_link")),
        event.c.url,
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
    """Writes the hours from `start` up to `end`, and the days that are complete with them. No end: all later ones."""
    last, change = end or _FOREVER, roll_up_change
    connection.execute(sa.delete(change).where(change.c.start >= start, change.c.start < last))
    _delete_counts(connection, roll_ups.HOUR, start, last)
    if counts:
        connection.execute(sa.insert(roll_up), list(_rows(counts)))
    first_day, days_end = start.replace(hour=0), last if end is None else end.replace(hour=0)
    if first_day == days_end:
        return  # the day's own row follows with its last hour
    _delete_counts(connection, roll_ups.DAY, first_day, days_end)
    names = RollUpKey._fields
    by = [roll_ups.truncate(roll_up.c.start, DAY_US) if name == "start" else roll_up.c[name] for name in names]
    sums = [sa.func.sum(roll_up.c[name]) for name in ("count", "uniques")]
    hours = sa.select(sa.literal_column(f"'{roll_ups.DAY}'"), *by, *sums).group_by(*by)
    hours = hours.where(*_in_period(roll_ups.HOUR, first_day, days_end))
    connection.execute(sa.insert(roll_up).from_select(["period", *names, "count", "uniques"], hours))


def _delete_counts(connection: sa.Connection, period: str, start: datetime, end: datetime) -> None:
    connection.execute(sa.delete(roll_up).where(*_in_period(period, start, end)))


def _in_period(period: str, start: datetime, end: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    # With the dimensions named, the key of the table leads to the times.
    dimensions = roll_up.c.dimension.in_(roll_ups.DIMENSIONS)
    return roll_up.c.period == period, dimensions, roll_up.c.start >= start, roll_up.c.start < end


def _rows(counts: dict[RollUpKey, tuple[int, int]]) -> Iterator[dict[str, Any]]:  # Any: a row's values
    for key, (count, uniques) in counts.items():
        yield key._asdict() | {"period": roll_ups.HOUR, "count": count, "uniques": uniques}
