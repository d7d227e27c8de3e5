"""What tables are made of: the types of their columns, and rows as values of a statement."""

from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator
from sqlmodel import SQLModel
from sqlmodel._compat import SQLModelConfig
from sqlmodel.main import get_column_from_field

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CodePoints: Any = sa.String().with_variant(sa.String(collation="C"), "postgresql")  # Any: as below
BigId: Any = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # Any: sqlmodel's stubs want a class here


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


class Row(SQLModel):
    """A row of a table, made as fast as a dictionary and read as fast as any object.

    With `table=True` SQLModel would map it for SQLAlchemy's sessions, which nothing here uses: then a row takes 0.3 ms,
    and each reading of a value is a call.
    """

    model_config = SQLModelConfig(defer_build=True)  # what the journal reads is validated, and nothing else is

    if not TYPE_CHECKING:  # whose arguments are the fields, as SQLModel says

        def __init__(self, **values: Any) -> None:  # Any: a row's values
            defaults, factories = _defaults(type(self))
            known = self.__dict__
            known.update(defaults)
            for name, factory in factories:
                known[name] = factory()
            known.update(values)


@cache
def _defaults(row: type[Row]) -> tuple[dict[str, Any], list[tuple[str, Any]]]:  # Any: of any column
    """The default of each column, None where it has to be given; and the default factories."""
    fields = row.model_fields.items()
    defaults = {name: None if field.is_required() or field.default_factory else field.default for name, field in fields}
    return defaults, [(name, field.default_factory) for name, field in fields if field.default_factory]


def table_of(row: type[Row], **options: Any) -> sa.Table:  # Any: what a table takes
    """The table of such rows, with the columns that SQLModel makes of the fields. `options` are those of `sa.Table`."""
    columns = []
    for name, field in row.model_fields.items():
        column = get_column_from_field(field)
        column.name = column.key = name
        columns.append(column)
    return sa.Table(str(row.__tablename__), SQLModel.metadata, *columns, **options)


def row_values(row: SQLModel, *, left_out: frozenset[str] = frozenset()) -> dict[str, Any]:  # Any: a row's values
    """A row as the values of a Core statement."""
    if not left_out:
        return row.__dict__.copy()
    return {name: value for name, value in row.__dict__.items() if name not in left_out}


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
