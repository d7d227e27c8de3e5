"""Roll-ups by hour and day, filled from the events that are there; the first open and click of each delivery."""

import base64
import json
from collections import Counter
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

_FIRST_OPEN = "(type = 'opened' AND verdict IN ('human', 'proxied')) OR (type = 'clicked' AND implies_open)"
_FIRST_CLICK = "type = 'clicked' AND verdict = 'human'"
_HOUR_MS, _HOUR_US, _DAY_US = 3_600_000, 3_600_000_000, 86_400_000_000
_COLUMNS = ("dimension", "start", "stream", "value", "type", "detail", "count", "uniques")


def upgrade() -> None:
    keys: list[sa.Column[Any]] = [  # Any: of any type
        sa.Column(name, sa.BigInteger() if name == "start" else sa.String(), primary_key=True, autoincrement=False)
        for name in ("period", *_COLUMNS[:-2])
    ]
    counts = [sa.Column(name, sa.BigInteger, nullable=False) for name in ("count", "uniques")]
    op.create_table("roll_up", *keys, *counts, sqlite_with_rowid=False)
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "roll_up_change",
        sa.Column("id", number, primary_key=True),
        *(sa.Column(name, sa.BigInteger if name == "start" else sa.String, nullable=False) for name in _COLUMNS[:-2]),
        *(sa.Column(name, sa.Integer, nullable=False) for name in _COLUMNS[-2:]),
    )
    for name, is_meant in (("first_open", _FIRST_OPEN), ("first_click", _FIRST_CLICK)):
        op.add_column("event", sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false()))
        op.execute(
            f"UPDATE event SET {name} = true WHERE id IN (SELECT min(id) FROM event"  # noqa: S608  constants
            f" WHERE number IS NOT NULL AND ({is_meant}) GROUP BY message, number)"
        )
    _fill(op.get_bind())


def _fill(connection: sa.Connection) -> None:
    """Hour by hour, by ranges of ids, which are in order of time."""
    domain = (
        "lower(coalesce(substring(e.recipient from '@([^@]*)$'), ''))"
        if connection.dialect.name == "postgresql"
        else "CASE WHEN instr(e.recipient, '@') THEN lower(substr(e.recipient,"
        " length(rtrim(e.recipient, replace(e.recipient, '@', ''))) + 1)) ELSE '' END"
    )
    grouped = sa.text(
        f"""SELECT m.stream, CAST(m.tags AS text), {domain}, e.type, e.verdict, CAST(e.reasons AS text), e.implies_open,
        e.first_open, e.first_click, count(*) FROM event e JOIN message m ON m.id = e.message
        WHERE e.id >= :first AND e.id < :end GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9"""  # noqa: S608  constants
    )
    next_event = sa.text("SELECT min(id) FROM event WHERE id >= :first")
    first = ""
    while (found := connection.scalar(next_event, {"first": first})) and len(found) == 20:
        hour = int.from_bytes(base64.b32hexdecode(found.upper() + "====")[:6], "big") // _HOUR_MS
        first, end = _lowest_id(hour), _lowest_id(hour + 1)
        counts: Counter[tuple[object, ...]] = Counter()
        uniques: Counter[tuple[object, ...]] = Counter()
        for row in connection.execute(grouped, {"first": first, "end": end}):
            for key, is_unique in _keys(hour * _HOUR_US, *row[:-1]):
                counts[key] += row[-1]
                uniques[key] += row[-1] if is_unique else 0
        rows = [dict(zip(_COLUMNS, (*key, count, uniques[key]), strict=True)) for key, count in counts.items()]
        if rows:
            names = ", ".join(f":{name}" for name in _COLUMNS)
            connection.execute(
                sa.text(f"INSERT INTO roll_up (period, {', '.join(_COLUMNS)}) VALUES ('hour', {names})"),  # noqa: S608
                rows,
            )
        first = end
    day = f"start - start % {_DAY_US}"
    connection.execute(
        sa.text(
            f"""INSERT INTO roll_up (period, {", ".join(_COLUMNS)}) SELECT 'day', dimension, {day}, stream, value, type,
            detail, sum(count), sum(uniques) FROM roll_up GROUP BY 2, 3, 4, 5, 6, 7"""  # noqa: S608  constants
        )
    )


def _lowest_id(hour: int) -> str:
    octets = (hour * _HOUR_MS).to_bytes(6, "big") + bytes(6)
    return base64.b32hexencode(octets).decode("ascii").rstrip("=").lower()


def _keys(
    start: int, stream: str, tags: str, domain: str, type_: str, verdict: str, reasons: str, implies: bool,
    first_open: bool, first_click: bool,
) -> list[tuple[tuple[object, ...], bool]]:  # fmt: skip
    """The rows that such events are counted in, and whether they are unique there."""
    why = json.loads(reasons)
    detail = verdict if type_ in ("opened", "clicked") else ""
    if type_ in ("deferred", "bounced", "expired", "suppressed") and why:
        detail = why[0]
    dimensions = [("", stream, ""), *(("tag", stream, tag) for tag in json.loads(tags))]
    if domain:
        dimensions.append(("domain", stream if stream == "notice" else "", domain))
    kinds = [(type_, detail, first_click if type_ == "clicked" else first_open)]
    kinds += [("opened", "human", first_open)] if implies else []
    return [
        ((dimension, start, of_stream, value, kind, what), bool(is_unique))
        for dimension, of_stream, value in dimensions
        for kind, what, is_unique in kinds
    ]
