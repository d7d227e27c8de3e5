"""Rows that are read at once: the same as one by one, on each database."""

from datetime import UTC, datetime

import sqlalchemy as sa

from relay.store.database import packed_rows
from relay.store.database.roll_up_tables import roll_up
from relay.store.store import Store

TEXTS = ("", "plain", 'quote " and \\', "line\r\nend\ttab\x1f", "[1, 2]", "null", "é ☃ 😀 \u2028", "x" * 2000)
HOUR = datetime(2026, 5, 1, 12, tzinfo=UTC)


def fill(opened: Store) -> None:
    rows = [
        {"period": "hour", "dimension": "tag", "start": HOUR, "stream": "", "value": text, "type": "opened"}
        | {"detail": "human", "count": 2**62 + n, "uniques": -n}
        for n, text in enumerate(TEXTS)
    ]
    opened.writer.submit(lambda connection: connection.execute(sa.insert(roll_up), rows)).result()


def test_texts_and_numbers_come_as_they_are_stored(opened: Store) -> None:
    fill(opened)
    query = sa.select(roll_up.c.value, roll_up.c.count, roll_up.c.uniques, sa.null().label("none"))
    with opened.connect() as connection:
        found = packed_rows.read_rows(connection, query)
        one_by_one = connection.execute(query).all()
    assert sorted(map(tuple, found)) == sorted(map(tuple, one_by_one)) and len(found) == len(TEXTS)


def test_each_set_of_parameters_has_its_own_rows_and_none_are_an_empty_list(opened: Store) -> None:
    fill(opened)
    query = sa.select(roll_up.c.count).where(roll_up.c.value == sa.bindparam("text"))
    with opened.connect() as connection:
        texts = [{"text": text} for text in (*TEXTS, "nobody")]
        found = [[count for (count,) in rows] for rows in packed_rows.read_rows_of_each(connection, query, texts)]
    assert found == [*([2**62 + n] for n in range(len(TEXTS))), []]
