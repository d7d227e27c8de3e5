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
_MOVE_ROWS = "pg_dump --no-owner OLD | psql -1 waypost"
_ADVISORY_LOCK = 0x57415950  # "WAYP": PostgreSQL's advisory lock; SQLite's BEGIN IMMEDIATE is one already

_DIGITS = f"unnest(string_to_array('{BASE32HEX}', NULL))"
_PAIRS = f"SELECT a || b AS pair FROM {_DIGITS} AS a, {_DIGITS} AS b"  # noqa: S608
# The encoding, and whether ids sort by time: whether each two digits of theirs sort as octets do.
_LOCALE = f"""SELECT current_setting('server_encoding'),
    array_agg(pair ORDER BY pair) = array_agg(pair ORDER BY pair COLLATE "C") FROM ({_PAIRS}) AS all_pairs"""  # noqa: S608


class DatabaseTooNewError(Exception):
    """The database was written by a later Waypost."""


class DatabaseLocaleError(Exception):
    """The database cannot store every character, or sorts ids otherwise than by time."""


def is_current(engine: sa.Engine) -> bool:
    """True if there is nothing to do. Needs no lock. Raises DatabaseLocaleError, sqlalchemy.exc.SQLAlchemyError."""
    with engine.begin() as connection:
        if _current_version(connection) != max(_known_versions()):
            return False
        _check_locale(connection, has_tables=True)  # the tables may have come out of a dump of another database
        return True


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
        _check_locale(connection, has_tables=version is not None)
        if version != max(known):
            _migrate(connection)


def _check_locale(connection: sa.Connection, *, has_tables: bool) -> None:
    """Refuses what cannot be changed in a database that there is. Takes 2 ms. Raises DatabaseLocaleError."""
    if connection.dialect.name != "postgresql":
        return
    encoding, ids_sort_by_time = connection.execute(sa.text(_LOCALE)).one()
    if encoding != "UTF8":
        fault = f"has the encoding {encoding}, which cannot store every character"
    elif not ids_sort_by_time:
        fault = (
            "sorts by a language that counts two letters as one (ch in Czech, aa in Danish), so ids are out of order"
        )
    else:
        return
    remedy = f"Make another one:   {_CREATE_DATABASE}"
    if has_tables:
        remedy += f"   and move what is in it:   {_MOVE_ROWS}"
    raise DatabaseLocaleError(f"the database {fault}. {remedy}")


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
