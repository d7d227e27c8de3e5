"""What tables are made of: their columns and the types of these."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
metadata = sa.MetaData()  # of all tables
CodePoints = sa.String().with_variant(sa.String(collation="C"), "postgresql")
BigId = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def to_microseconds(at: datetime | None) -> int | None:
    """As a column of times has it."""
    if at is None:
        return None
    since = at - _EPOCH  # a naive time fails here, as it should
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def from_microseconds(value: int | None) -> datetime | None:
    """The time that a column has."""
    return None if value is None else datetime.fromtimestamp(value / 1_000_000, UTC)


class UtcTime(TypeDecorator[datetime]):
    """An aware datetime as an integer: exact, sortable, the same on every database."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:
        return to_microseconds(value)

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> datetime | None:
        return from_microseconds(value)


def key(name: str, type_: Any, **options: Any) -> sa.Column[Any]:  # Any: a type or its class, and what a column takes
    """A column of the primary key."""
    return sa.Column(name, type_, primary_key=True, nullable=False, **options)


def column(name: str, type_: Any, **options: Any) -> sa.Column[Any]:  # Any: as above
    """A column that always has a value: `default` is that of a row which is inserted without one."""
    return sa.Column(name, type_, nullable=False, **options)


def nullable(name: str, type_: Any, **options: Any) -> sa.Column[Any]:  # Any: as above
    """A column that may have no value."""
    return sa.Column(name, type_, nullable=True, **options)


def storable_text(text: str, max_characters: int) -> str:
    """Its beginning, as any database takes it: PostgreSQL takes no NUL, and no driver a lone surrogate."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()[:max_characters]


def insert_into(connection: sa.Connection, table: sa.Table) -> "postgresql.Insert | sqlite.Insert":
    """An INSERT of the connection's database, which can say what is done ON CONFLICT."""
    # Imported here: each takes a command 50 ms, and it is hardly ever needed, or loaded with the engine.
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)
