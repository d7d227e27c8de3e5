"""Brings the database's schema to this program's version, under a lock.

The steps are Alembic's, in `migrations/versions`; a migrated database's version stands in `alembic_version`.
"""

from pathlib import Path

import sqlalchemy as sa

from relay.base_encoding import BASE32HEX

_MIGRATIONS = (
    Path(__file__).parent / "migrations"
)  # a file's name begins with its revision, and the last one is the newest
_CREATE_DATABASE = "CREATE DATABASE waypost TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER libc LC_COLLATE 'C'"
_ADVISORY_LOCK = 0x57415950  # "WAYP": PostgreSQL's advisory lock; SQLite's BEGIN IMMEDIATE is one already


class DatabaseTooNewError(Exception):
    """The database was written by a later Waypost."""


class DatabaseLocaleError(Exception):
    """The database cannot store every character, or sorts ids otherwise than by time."""


def is_current(engine: sa.Engine) -> bool:
    """True if there is nothing to do. Needs no lock. Raises sqlalchemy.exc.SQLAlchemyError."""
    with engine.begin() as connection:
        return _current_version(connection) == max(_known_versions())


def upgrade_schema(engine: sa.Engine) -> None:
    """Migrates. Several processes may call it at once. Raises DatabaseTooNewError, DatabaseLocaleError,
    sqlalchemy.exc.SQLAlchemyError."""
    known = _known_versions()
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
        version = _current_version(connection)
        if version is not None and version not in known:
            raise DatabaseTooNewError(f"the database is of a later version of Waypost ({version}); start that one")
        if version is None:
            _check_locale(connection)
        if version != max(known):
            _migrate(connection)


def _check_locale(connection: sa.Connection) -> None:
    """Refuses what cannot be changed once the database is made. Raises DatabaseLocaleError."""
    if connection.dialect.name != "postgresql":
        return
    encoding = connection.scalar(sa.text("SHOW server_encoding"))
    if encoding != "UTF8":
        fault = f"has the encoding {encoding}, which cannot store every character"
    elif not _ids_sort_by_time(connection):
        fault = (
            "sorts by a language that counts two letters as one (ch in Czech, aa in Danish), so ids are out of order"
        )
    else:
        return
    raise DatabaseLocaleError(f"the database {fault}. Make another one:   {_CREATE_DATABASE}")


def _ids_sort_by_time(connection: sa.Connection) -> bool:
    digits = f"unnest(string_to_array('{BASE32HEX}', NULL))"
    pairs = f"SELECT a || b AS pair FROM {digits} AS a, {digits} AS b"  # noqa: S608
    compared = f"""SELECT array_agg(pair ORDER BY pair) = array_agg(pair ORDER BY pair COLLATE "C") FROM ({pairs}) s"""  # noqa: S608
    return bool(connection.scalar(sa.text(compared)))


def _known_versions() -> set[str]:
    return {path.name[:4] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py")}


def _current_version(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return version


def _migrate(connection: sa.Connection, to: str = "head") -> None:
    # Imported here: it takes a fifth of a command's start, and is hardly ever needed.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, to)
