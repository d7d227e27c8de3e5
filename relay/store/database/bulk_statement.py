"""Insert or update many rows with little work for each row in Python.

In: rows as mappings, all with the same columns.  Out: one `executemany` of the driver. The statement is compiled once
for each set of columns, where SQLAlchemy looks it up and processes each row again: 40 µs a row and more.
"""

import itertools
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import sqlalchemy as sa

# Rows of one statement. Python's lock is given up at each step of SQLite, and taken back from the busy event loop's
# thread: a statement for each row waited for it each time. Few numbers, so that few statements have to be prepared.
_ROWS_AT_ONCE = (16, 4, 1)
_WHERE = "of_"  # how the name of a column begins by which rows to be updated are found


class _Compiled(NamedTuple):
    text: str
    names: tuple[str, ...]  # of the values, in the order of the statement's parameters
    # By place in the row: what makes of a value what the driver takes.
    processors: tuple[tuple[int, Callable[[Any], Any]], ...]  # Any: of any column
    is_positional: bool
    row_text: str  # what follows VALUES, where it may stand there several times


class BulkStatement:
    """A statement about rows of one table, which `make` makes for the columns that it is given."""

    def __init__(self, table: sa.Table, make: Callable[[sa.Table, tuple[str, ...]], sa.Insert | sa.Update]) -> None:
        self._table = table
        self._make = make
        self._compiled: dict[tuple[str, tuple[str, ...]], _Compiled] = {}

    def run(self, connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Runs it for each row. Raises sqlalchemy.exc.SQLAlchemyError."""
        if not rows:
            return
        columns = tuple(rows[0])
        compiled = self._compiled.get((connection.dialect.name, columns))
        if compiled is None:
            compiled = self._compile(connection.dialect, columns)
            self._compiled[connection.dialect.name, columns] = compiled
        pick = itemgetter(*compiled.names)
        values = [list(pick(row)) for row in rows] if len(columns) > 1 else [[pick(row)] for row in rows]
        for at, process in compiled.processors:
            for row_values in values:
                row_values[at] = process(row_values[at])
        if compiled.row_text:
            at = 0
            for count in _ROWS_AT_ONCE:
                while len(values) - at >= count:
                    parameters = tuple(itertools.chain.from_iterable(values[at : at + count]))
                    _execute(connection, compiled.text + f", {compiled.row_text}" * (count - 1), parameters)
                    at += count
        elif compiled.is_positional:
            connection.exec_driver_sql(compiled.text, [tuple(row_values) for row_values in values])
        else:
            named = [dict(zip(compiled.names, row_values, strict=True)) for row_values in values]
            connection.exec_driver_sql(compiled.text, named)

    def _compile(self, dialect: sa.Dialect, columns: tuple[str, ...]) -> _Compiled:
        made = self._make(self._table, columns).compile(dialect=dialect)
        names = tuple(made.positiontup or columns) if made.positional else columns
        types = [self._table.c[name.removeprefix(_WHERE)].type for name in names]
        processors = [type_.dialect_impl(dialect).bind_processor(dialect) for type_ in types]
        to_process = tuple((at, process) for at, process in enumerate(processors) if process)
        row_text = f"({', '.join('?' * len(names))})"
        may_repeat = made.positional and str(made).endswith(f"VALUES {row_text}")
        return _Compiled(str(made), names, to_process, made.positional, row_text if may_repeat else "")


def _execute(connection: sa.Connection, text: str, parameters: tuple[Any, ...]) -> None:  # Any: of any column
    """Runs SQLite's statement, without the objects that SQLAlchemy makes for each; twice as long with them."""
    driver = connection.connection.dbapi_connection
    assert driver is not None
    cursor = driver.cursor()
    try:
        cursor.execute(text, parameters)
    except sqlite3.Error:
        connection.exec_driver_sql(text, parameters)  # it fails again, with the error that callers know
    finally:
        cursor.close()


def insert_into(table: sa.Table) -> BulkStatement:
    """Inserts rows."""
    return BulkStatement(table, lambda table, columns: sa.insert(table).values({n: sa.bindparam(n) for n in columns}))


def update_by(table: sa.Table, *keys: str) -> BulkStatement:
    """Updates the rows with those `keys`, which each mapping has as `of_KEY`."""
    return _update(table, keys, lambda _, given: given)


def add_to(table: sa.Table, *keys: str) -> BulkStatement:
    """Adds to columns of the row whose `keys` are those that the mapping has as `of_KEY`."""
    return _update(table, keys, lambda column, given: column + given)


def _update(
    table: sa.Table,
    keys: Sequence[str],
    change: Callable[[sa.ColumnElement[Any], sa.ColumnElement[Any]], sa.ColumnElement[Any]],  # Any: of any column
) -> BulkStatement:
    """`change` makes a column's new value of the old one and of what a mapping has."""

    def make(table: sa.Table, columns: tuple[str, ...]) -> sa.Update:
        changed = {name: change(table.c[name], sa.bindparam(name)) for name in columns if not name.startswith(_WHERE)}
        return sa.update(table).where(*(table.c[key] == sa.bindparam(_WHERE + key) for key in keys)).values(changed)

    return BulkStatement(table, make)
