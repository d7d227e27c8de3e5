"""What is done with a database before the store opens it."""

import contextlib

import sqlalchemy as sa

from relay.store.database import engine, migrate, tables


def has_messages(database_url: str) -> bool:
    """True if the database has mail; False also if it is not there or has no tables. Raises
    sqlalchemy.exc.SQLAlchemyError."""
    if engine.is_missing(database_url):
        return False
    reading = engine.open_engine(database_url, may_write=False)
    try:
        with reading.begin() as connection:
            if not sa.inspect(connection).has_table(tables.message.name):
                return False
            return connection.scalar(sa.select(tables.message.c.id).limit(1)) is not None
    finally:
        reading.dispose()


def prepare_database(database_url: str) -> None:
    """Makes or migrates the database. Raises migrate.DatabaseTooNewError, migrate.DatabaseLocaleError,
    sqlalchemy.exc.SQLAlchemyError."""
    reading = engine.open_engine(database_url, may_write=False)
    try:
        with contextlib.suppress(sa.exc.OperationalError):  # there is none yet
            if migrate.is_current(reading):
                return  # a command that only reads does not wait for the server's writes
    finally:
        reading.dispose()
    writing = engine.open_engine(database_url, may_write=True, may_create=True)
    try:
        migrate.upgrade_schema(writing)
    finally:
        writing.dispose()
