"""PostgreSQL: events and attempts are partitioned by month. What is there becomes the first partition, as it lies."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from relay.store.database import partitions
from relay.store.database.partitions import ATTEMPT, EVENT, PartitionedTable

revision = "0026"
down_revision = "0025"

_KEYS = {"event": "id", "attempt": "id, at"}  # the column by which rows are partitioned must be in it
_INDEXES = {
    "event": {
        "event_by_message": "(message, number, id)",
        "event_by_type": "(type, id)",
        "event_click_by_message": "(message, link, verdict, number) WHERE type = 'clicked'",
    },
    "attempt": {"attempt_by_message": "(message, number)"},
}
_DIGITS = "0123456789abcdefghijklmnopqrstuv"


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    now = datetime.now(UTC)
    for table in (EVENT, ATTEMPT):
        if table is ATTEMPT or _ids_sort_by_time():
            _partition(table, now)
    partitions.make_months(op.get_bind(), now)
    for table in (EVENT, ATTEMPT):
        if _exists(f"{table.name}_ahead"):
            op.execute(f"INSERT INTO {table.name} SELECT * FROM {table.name}_ahead")  # noqa: S608
            op.execute(f"DROP TABLE {table.name}_ahead")


def _ids_sort_by_time() -> bool:
    """False where the database's language sorts some pairs of letters otherwise (`ch` in Czech, `aa` in Danish)."""
    digits = f"unnest(string_to_array('{_DIGITS}', NULL))"
    pairs = f"SELECT a || b AS pair FROM {digits} AS a, {digits} AS b"  # noqa: S608
    compared = f"""SELECT array_agg(pair ORDER BY pair) = array_agg(pair ORDER BY pair COLLATE "C") FROM ({pairs}) s"""  # noqa: S608
    return bool(op.get_bind().scalar(sa.text(compared)))


def _partition(table: PartitionedTable, now: datetime) -> None:
    name, end = table.name, partitions.month_of(now, 1)
    earlier, first_later = f"{name}_before_{end:%Y_%m}", table.lowest_at(end)
    op.execute(f"ALTER TABLE {name} RENAME TO {earlier}")
    for index in (f"{name}_pkey", *_INDEXES[name]):
        op.execute(f"ALTER INDEX {index} RENAME TO {earlier}{index.removeprefix(name)}")
    op.execute(f"CREATE TABLE {name} (LIKE {earlier} INCLUDING DEFAULTS) PARTITION BY RANGE ({table.column})")
    sequence = op.get_bind().scalar(sa.text(f"SELECT pg_get_serial_sequence('{earlier}', 'id')"))
    if sequence:
        op.execute(f"ALTER SEQUENCE {sequence} OWNED BY {name}.id")
    if op.get_bind().scalar(sa.text(f"SELECT true FROM {earlier} LIMIT 1")):  # noqa: S608
        # Of a clock that was wrong: they would be out of bounds.
        op.execute(f"CREATE TABLE {name}_ahead AS SELECT * FROM {earlier} WHERE {table.column} >= {first_later}")  # noqa: S608
        op.execute(f"DELETE FROM {earlier} WHERE {table.column} >= {first_later}")  # noqa: S608
        if name == "attempt":
            op.execute(f"ALTER TABLE {earlier} DROP CONSTRAINT {earlier}_pkey, ADD PRIMARY KEY ({_KEYS[name]})")
        op.execute(f"ALTER TABLE {name} ATTACH PARTITION {earlier} FOR VALUES FROM (MINVALUE) TO ({first_later})")
    else:
        op.execute(f"DROP TABLE {earlier}")
    # Those that are there become part of the new ones as they are.
    op.execute(f"ALTER TABLE {name} ADD PRIMARY KEY ({_KEYS[name]})")
    for index, what in _INDEXES[name].items():
        op.execute(f"CREATE INDEX {index} ON {name} {what}")
    op.execute(f"CREATE TABLE {name}_default PARTITION OF {name} DEFAULT")


def _exists(name: str) -> bool:
    return op.get_bind().scalar(sa.text(f"SELECT to_regclass('{name}')")) is not None
