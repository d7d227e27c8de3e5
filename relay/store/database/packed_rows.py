"""Thousands of rows at once, where only numbers and texts are read.

In: a query.  Out: its rows as lists.

SQLite's driver gives up Python's lock and takes it again for each row. Beside a busy event loop every time costs both
of them a change of threads, so a reader of 10,000 rows held the loop up more by that than by its work. SQLite therefore
returns the rows as one JSON text. PostgreSQL's driver gets all rows at once anyway.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

_Rows = Sequence[Sequence[Any]]  # Any: a number or a text


def read_rows(connection: sa.Connection, query: "sa.Select[Any]") -> _Rows:
    """All rows, in no certain order, of columns whose values need no conversion."""
    return next(read_rows_of_each(connection, query, [{}]))


def read_rows_of_each(
    connection: sa.Connection,
    query: "sa.Select[Any]",
    parameter_sets: Iterable[Mapping[str, Any]],  # Any: as the query takes them
) -> Iterator[_Rows]:
    """The same with each set of parameters, in their order."""
    if connection.dialect.name != "sqlite":
        for parameters in parameter_sets:
            yield connection.execute(query, parameters).all()
        return
    rows = query.subquery()
    packed = sa.select(sa.func.json_group_array(sa.func.json_array(*rows.c)))
    for parameters in parameter_sets:
        yield json.loads(connection.execute(packed, parameters).scalar_one())
