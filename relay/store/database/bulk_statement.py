"""Insert or update many rows with little work for each row in Python.

In: rows as mappings, all with the same columns.  Out: one `executemany` of the driver. The statement is compiled once
for each set of columns, where SQLAlchemy looks it up and processes each row again: 40 µs a row and more.
"""

import itertools
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from json.encoder import encode_basestring_ascii
from operator import itemgetter
from typing import Any, NamedTuple

import sqlalchemy as sa

from relay.store.database import columns

# Rows of one statement. Python's lock is given up at each step of SQLite, and taken back from the busy event loop's
# thread: a statement for each row waited for it each time. The driver keeps one prepared for each number of rows.
_ROWS_AT_ONCE = 16
_WHERE = "of_"  # how the name of a column begins by which rows to be updated are found


class _CompiledStatement(NamedTuple):
    text: str
    names: tuple[str, ...]  # of the values, in the order of the statement's parameters
    # By place in the row: what makes of a value what the driver takes.
    processors: tuple[tuple[int, Callable[[Any], Any]], ...]  # Any: of any column
    is_positional: bool
    texts: tuple[str, ...]  # with so many rows behind VALUES, from one on; empty where one row is all that may be there


class BulkStatement:
    """A statement about rows of one table, which `make` makes for the columns that it is given."""

    def __init__(self, table: sa.Table, make: Callable[[sa.Table, tuple[str, ...]], sa.Insert | sa.Update]) -> None:
        self._table = table
        self._make = make
        self._compiled: dict[tuple[str, tuple[str, ...]], _CompiledStatement] = {}

    def run(self, connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Runs it for each row. Raises sqlalchemy.exc.SQLAlchemyError."""
        if not rows:
            return
        names = tuple(rows[0])
        compiled = self._compiled.get((connection.dialect.name, names))
        if compiled is None:
            compiled = self._compile(connection.dialect, names)
            self._compiled[connection.dialect.name, names] = compiled
        pick = itemgetter(*compiled.names)
        values = [list(pick(row)) for row in rows] if len(names) > 1 else [[pick(row)] for row in rows]
        for at, process in compiled.processors:
            for row_values in values:
                row_values[at] = process(row_values[at])
        if compiled.texts:
            for at in range(0, len(values), _ROWS_AT_ONCE):
                some = values[at : at + _ROWS_AT_ONCE]
                parameters = some[0] if len(some) == 1 else list(itertools.chain.from_iterable(some))
                _execute(connection, compiled.texts[len(some) - 1], parameters)
        elif compiled.is_positional:
            connection.exec_driver_sql(compiled.text, [tuple(row_values) for row_values in values])
        else:
            named = [dict(zip(compiled.names, row_values, strict=True)) for row_values in values]
            connection.exec_driver_sql(compiled.text, named)

    def _compile(self, dialect: sa.Dialect, row_names: tuple[str, ...]) -> _CompiledStatement:
        made = self._make(self._table, row_names).compile(dialect=dialect)
        names = tuple(made.positiontup or row_names) if made.positional else row_names
        types = [self._table.c[name.removeprefix(_WHERE)].type for name in names]
        processors = [_processor(type_, dialect) for type_ in types]
        to_process = tuple((at, process) for at, process in enumerate(processors) if process)
        row_text = f"({', '.join('?' * len(names))})"
        may_repeat = made.positional and str(made).endswith(f"VALUES {row_text}")
        texts = [str(made) + f", {row_text}" * more for more in range(_ROWS_AT_ONCE if may_repeat else 0)]
        return _CompiledStatement(str(made), names, to_process, made.positional, tuple(texts))


def _processor(type_: sa.types.TypeEngine[Any], dialect: sa.Dialect) -> Callable[[Any], Any] | None:  # Any: as above
    """What makes of a column's value what the driver takes: as SQLAlchemy does, in fewer calls where SQLite allows."""
    process = type_.dialect_impl(dialect).bind_processor(dialect)
    if dialect.name != "sqlite":
        return process
    if isinstance(type_, columns.UtcTime):
        return columns.to_microseconds
    if isinstance(type_, sa.Boolean):
        return int  # for a bool, or a member of a StrEnum, the driver looks for an adapter each time
    return _shorten_json_writer(process) if type(type_) is sa.JSON and process else process


def _shorten_json_writer(process: Callable[[Any], Any]) -> Callable[[Any], Any]:  # Any: as above
    """The same for JSON. Most lists of a mail are empty, or have one word."""

    def write_json(value: Any) -> Any:
        if value == []:
            return "[]"
        if value == {}:
            return "{}"
        if type(value) is list and len(value) == 1 and type(value[0]) is str:
            return f"[{encode_basestring_ascii(value[0])}]"
        return process(value)

    return write_json


def _execute(connection: sa.Connection, text: str, parameters: Sequence[Any]) -> None:  # Any: of any column
    """Runs SQLite's statement, without the objects that SQLAlchemy makes for each; twice as long with them."""
    driver = connection.connection.dbapi_connection
    assert driver is not None
    cursor = driver.cursor()
    try:
        cursor.execute(text, parameters)
    except sqlite3.Error:
        connection.exec_driver_sql(text, tuple(parameters))  # it fails again, with the error that callers know
    finally:
        cursor.close()


def select(connection: sa.Connection, text: str, *parameters: Any) -> list[Any]:  # Any: of any column, and rows
    """The rows of a SELECT as SQLite's driver has them: SQLAlchemy takes a hundred calls for it, ten for each mail of a
    small group. Raises sqlalchemy.exc.SQLAlchemyError."""
    driver = connection.connection.dbapi_connection
    assert driver is not None
    cursor = driver.cursor()
    try:
        rows: list[Any] = cursor.execute(text, parameters).fetchall()  # Any: as above
        return rows
    except sqlite3.Error:
        return list(connection.exec_driver_sql(text, parameters))  # it fails again, with the error that callers know
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
