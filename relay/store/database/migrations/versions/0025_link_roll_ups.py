"""Clicks by URL are rolled up; of each click, whether it is the delivery's first by a person on that link."""

import base64
from collections import Counter

import sqlalchemy as sa
from alembic import op

from relay.store.database.roll_ups import link_name

revision = "0025"
down_revision = "0024"

_HOUR_MS, _HOUR_US, _DAY_US = 3_600_000, 3_600_000_000, 86_400_000_000
_COLUMNS = ("dimension", "start", "stream", "value", "type", "detail", "count", "uniques")


def upgrade() -> None:
    op.add_column("event", sa.Column("first_of_link", sa.Boolean, nullable=False, server_default=sa.false()))
    op.execute(
        "UPDATE event SET first_of_link = true WHERE id IN (SELECT min(id) FROM event WHERE number IS NOT NULL"
        " AND type = 'clicked' AND verdict = 'human' GROUP BY message, number, link, url)"
    )
    is_of_link = sa.text("dimension = 'link'")
    op.create_index(
        "roll_up_of_links",
        "roll_up",
        ["period", "start", "count"],
        sqlite_where=is_of_link,
        postgresql_where=is_of_link,
    )
    _fill(op.get_bind())


def _fill(connection: sa.Connection) -> None:
    """Hour by hour, by ranges of ids, which are in order of time."""
    next_click = sa.text("SELECT min(id) FROM event WHERE type = 'clicked' AND id >= :first")
    grouped = sa.text(
        """SELECT m.stream, e.url, e.verdict, e.first_of_link, count(*) FROM event e JOIN message m ON m.id = e.message
        WHERE e.type = 'clicked' AND e.id >= :first AND e.id < :end GROUP BY 1, 2, 3, 4"""
    )
    names = ", ".join(f":{name}" for name in _COLUMNS)
    insert = sa.text(f"INSERT INTO roll_up (period, {', '.join(_COLUMNS)}) VALUES ('hour', {names})")  # noqa: S608
    first = ""
    while (found := connection.scalar(next_click, {"first": first})) and len(found) == 20:
        hour = int.from_bytes(base64.b32hexdecode(found.upper() + "====")[:6], "big") // _HOUR_MS
        first, end = _lowest_id(hour), _lowest_id(hour + 1)
        counts: Counter[tuple[object, ...]] = Counter()
        uniques: Counter[tuple[object, ...]] = Counter()
        for stream, url, verdict, is_first, count in connection.execute(grouped, {"first": first, "end": end}):
            if url:
                key = ("link", hour * _HOUR_US, stream, link_name(url), "clicked", verdict)
                counts[key] += count
                uniques[key] += count if is_first else 0
        rows = [dict(zip(_COLUMNS, (*key, count, uniques[key]), strict=True)) for key, count in counts.items()]
        if rows:
            connection.execute(insert, rows)
        first = end
    connection.execute(
        sa.text(
            f"""INSERT INTO roll_up (period, {", ".join(_COLUMNS)}) SELECT 'day', dimension,
            start - start % {_DAY_US}, stream, value, type, detail, sum(count), sum(uniques) FROM roll_up
            WHERE dimension = 'link' GROUP BY 2, 3, 4, 5, 6, 7"""  # noqa: S608  constants
        )
    )


def _lowest_id(hour: int) -> str:
    octets = (hour * _HOUR_MS).to_bytes(6, "big") + bytes(6)
    return base64.b32hexencode(octets).decode("ascii").rstrip("=").lower()
