"""Events and attempts by month, on PostgreSQL: each month is a table of its own, which retention drops whole.

In: a connection, and the time.  Out: partitions `event_2026_11`, whose bounds follow from their names. Rows of an
earlier version are in `event_before_2026_12`, those of a time without a partition in `event_default`. SQLite has
one table for all (docs/architecture.md#months).
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from relay import ids
from relay.store.database import tables

MONTHS_AHEAD = 3
MAX_MOVED = 10_000  # rows of the default partition, when their month is made
_ADVISORY_LOCK = 0x57415954  # "WAYT": nodes that start together make the same partitions
# Meanwhile whoever reads or writes the table waits behind us. The next hour tries again.
# It is less than PostgreSQL's deadlock_timeout, so that in a deadlock it is we who give way.
_LOCK_TIMEOUT = "900ms"
_ANALYZED_FOR = timedelta(days=7)
_NAME = re.compile(r"(event|attempt)_(?P<before>before_)?(?P<year>[0-9]{4})_(?P<month>[0-9]{2})")


class PartitionedTable(NamedTuple):
    """A table, the column by which its rows go into months, and a time as that column's least value then, in SQL."""

    name: str
    column: str
    lowest_at: Callable[[datetime], str]


class Partition(NamedTuple):
    """A table with the rows of some months, and about how many it has. `since` None: with all before."""

    name: str
    since: datetime | None
    until: datetime
    rows: int


# An event's id is in order of time, and stays the whole key: an event is stored once, whatever its row says of `at`.
EVENT = PartitionedTable("event", "id", lambda at: f"'{ids.lowest_at(at)}'")
ATTEMPT = PartitionedTable("attempt", "at", lambda at: str(round(at.timestamp()) * 1_000_000))
PARTITIONED = (EVENT, ATTEMPT)


def month_of(at: datetime, months_later: int = 0) -> datetime:
    """The beginning of a time's month (UTC), or of one that many months later."""
    at = at.astimezone(UTC)
    years, month = divmod(at.month - 1 + months_later, 12)
    return datetime(at.year + years, month + 1, 1, tzinfo=UTC)


def make_months(connection: sa.Connection, now: datetime) -> list[str]:
    """Makes the partitions of this month and of those that come. Returns the names of new ones. It reads and writes
    beside others, who wait for moments. Raises sqlalchemy.exc.SQLAlchemyError, also if it would have to wait for
    them."""
    made: list[str] = []
    if connection.dialect.name != "postgresql":
        return made
    _begin(connection)
    for table in PARTITIONED:
        if not _is_partitioned(connection, table):
            continue
        there = list_partitions(connection, table)
        for later in range(MONTHS_AHEAD + 1):
            since = month_of(now, later)
            if not any(one.since in (None, since) and since < one.until for one in there):
                name = _make_month(connection, table, since)
                made += [name] if name else []
    return made


def list_partitions(connection: sa.Connection, table: PartitionedTable) -> list[Partition]:
    """The table's partitions, the oldest first, but for the default one and those that somebody else has made."""
    found = connection.execute(
        sa.text(
            """SELECT c.relname, greatest(c.reltuples, 0) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent = to_regclass(:name)"""
        ),
        {"name": table.name},
    )
    partitions: list[Partition] = []
    for name, rows in found:
        if matched := _NAME.fullmatch(name):
            month = datetime(int(matched["year"]), int(matched["month"]), 1, tzinfo=UTC)
            since, until = (None, month) if matched["before"] else (month, month_of(month, 1))
            partitions.append(Partition(name, since, until, round(rows)))
    return sorted(partitions, key=lambda one: one.until)


def drop_next_month(connection: sa.Connection, before: datetime) -> Partition | None:
    """Drops a partition that has nothing but rows of messages which were accepted before then, and of which no delivery
    waits and no DSN is due. Returns it; call again, in a transaction of its own, until there is none. Raises as
    `make_months` does."""
    if connection.dialect.name != "postgresql":
        return None
    _begin(connection)
    for table in PARTITIONED:
        for one in list_partitions(connection, table):
            if one.until <= before and not _has_kept_rows(connection, one.name, before):
                connection.exec_driver_sql(f"DROP TABLE {one.name}")  # nobody uses the table until this commits
                return one
    return None


def analyze(connection: sa.Connection, now: datetime) -> None:
    """Has PostgreSQL look at each table as a whole, which it does by itself for partitions only."""
    if connection.dialect.name != "postgresql":
        return
    analyzed = sa.text("SELECT last_analyze FROM pg_stat_all_tables WHERE relid = to_regclass(:name)")
    for table in PARTITIONED:
        last: datetime | None = connection.scalar(analyzed, {"name": table.name})
        if _is_partitioned(connection, table) and (last is None or last < now - _ANALYZED_FOR):
            connection.exec_driver_sql(f"ANALYZE {table.name}")


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))


def _is_partitioned(connection: sa.Connection, table: PartitionedTable) -> bool:
    kind = sa.text("SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass(:name)")
    return bool(connection.scalar(kind, {"name": table.name}))


def _make_month(connection: sa.Connection, table: PartitionedTable, since: datetime) -> str | None:
    """Makes a month's partition, with the rows of that month that are in the default one. None, and nothing, if these
    are too many: they stay there."""
    name, default = f"{table.name}_{since:%Y_%m}", f"{table.name}_default"
    first, end = table.lowest_at(since), table.lowest_at(month_of(since, 1))
    theirs = f"{table.column} >= {first} AND {table.column} < {end}"
    # Nobody adds some to it meanwhile.
    connection.exec_driver_sql(f"LOCK TABLE {default} IN ACCESS EXCLUSIVE MODE")
    counted = f"SELECT count(*) FROM (SELECT 1 FROM {default} WHERE {theirs} LIMIT {MAX_MOVED + 1}) found"  # noqa: S608
    count: int = connection.exec_driver_sql(counted).scalar_one()
    if count > MAX_MOVED:
        return None
    # Attached, and not made as a partition: that would lock the whole table.
    connection.exec_driver_sql(f"CREATE TABLE {name} (LIKE {table.name} INCLUDING ALL)")
    if count:
        moved = (
            f"WITH moved AS (DELETE FROM {default} WHERE {theirs} RETURNING *) INSERT INTO {name} SELECT * FROM moved"  # noqa: S608
        )
        connection.exec_driver_sql(moved)
    connection.exec_driver_sql(f"ALTER TABLE {table.name} ATTACH PARTITION {name} FOR VALUES FROM ({first}) TO ({end})")
    return name


def _has_kept_rows(connection: sa.Connection, name: str, before: datetime) -> bool:
    """True if a partition has rows of messages that retention keeps."""
    partition, delivery = sa.table(name, sa.column("message", sa.String)), tables.delivery
    younger = sa.select(sa.true()).where(partition.c.message >= ids.lowest_at(before)).limit(1)
    waits = sa.or_(delivery.c.next_attempt_at.is_not(None), tables.has_dsn_due)
    waiting = (
        sa.select(sa.true()).join_from(delivery, partition, partition.c.message == delivery.c.message).where(waits)
    )
    return any(connection.execute(one.limit(1)).first() is not None for one in (younger, waiting))
