"""Find rows by address: suppressions and consent. Every mail and every hit asks.

In: names under which addresses may be stored.  Out: tuples of the wanted columns. The statement has one text however
many names there are, so that the driver keeps it prepared. SQLAlchemy would look its own one up, write the names into
it and make an object a row: ten times as long for a mail whose recipients have no row.
"""

import json
import sqlite3
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from relay.store.database.columns import UtcTime

_WHERE = {"sqlite": "IN (SELECT value FROM json_each(?))", "postgresql": "= ANY(%(names)s)"}


class NameLookup:
    """Finds rows of one table by its column `address`."""

    def __init__(self, table: sa.Table, *columns: str) -> None:
        self._table = table
        self._columns = columns
        self._text = f"SELECT {', '.join(columns)} FROM {table.name} WHERE address "  # noqa: S608  names of our own

    def find(self, connection: sa.Connection, names: Collection[str]) -> list[tuple[Any, ...]]:  # Any: of any column
        """The columns of each row under one of these names. Raises sqlalchemy.exc.SQLAlchemyError; outside of a
        transaction, as in `PromptReader`, SQLite's own errors."""
        if not names:
            return []
        is_sqlite = connection.dialect.name == "sqlite"
        text = self._text + _WHERE[connection.dialect.name]
        given: Any = (json.dumps(list(names)),) if is_sqlite else {"names": list(names)}  # Any: as the driver has it
        rows: Any
        if is_sqlite and not connection.in_transaction():
            driver: sqlite3.Connection = connection.connection.dbapi_connection  # type: ignore[assignment]
            rows = driver.execute(text, given)
        else:
            rows = connection.exec_driver_sql(text, given)
        return [self._process(connection.dialect, row) for row in rows]

    def _process(self, dialect: sa.Dialect, row: Any) -> tuple[Any, ...]:  # Any: as above
        values = list(row)
        for n, name in enumerate(self._columns):
            type_ = self._table.c[name].type
            if isinstance(type_, UtcTime):
                values[n] = type_.process_result_value(values[n], dialect)
            elif isinstance(type_, sa.Boolean):
                values[n] = bool(values[n])
        return tuple(values)
