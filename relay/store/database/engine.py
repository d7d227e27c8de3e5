"""SQLite or PostgreSQL, opened the way the store needs it."""

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from relay import log
from relay.store.database import errors, identities
from relay.store.database.write_turns import WriteTurns

BUSY_TIMEOUT_S = 5.0
DATABASE_FILE = "waypost.db"
_READ_ONLY = "25006"  # PostgreSQL's appendix A
_PREPARED_STATEMENTS = 256  # that a connection keeps: an INSERT has one for each number of rows
MAX_LOG_OCTETS = 16 << 20  # of SQLite's write-ahead log, once no reader needs more of it
_damaged_files: set[tuple[int, int]] = set()  # files in which a connection of this process has met damage
DEFAULT_POLICY = identities.IdentityPolicy()
# Finds within a minute that a PostgreSQL server is gone without a word, also while an answer is awaited.
POSTGRESQL_OPTIONS: dict[str, str | int] = {
    "client_encoding": "utf8",  # a database in SQL_ASCII would give octets
    "connect_timeout": round(BUSY_TIMEOUT_S),
    "tcp_user_timeout": 30_000,  # ms
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}


def database_url(configured_url: str, data_dir: Path) -> str:
    """The database's URL: the configured one, or a file in `data_dir`."""
    return configured_url or f"sqlite:///{data_dir / DATABASE_FILE}"


def parse_url(database_url: str) -> sa.URL:
    """The URL, also with several PostgreSQL servers, as libpq has them: `host1:5432,host2:5432`. Of these the one that
    takes writes is connected to, so that a standby which was promoted is found. Raises sqlalchemy.exc.ArgumentError."""
    scheme, _, rest = database_url.partition("://")
    before_query, question_mark, query = rest.partition("?")
    credentials, at, place = before_query.rpartition("@")
    hosts, slash, name = place.partition("/")
    places = hosts.split(",")
    if len(places) > 1:
        database_url = f"{scheme}://{credentials}{at}{slash}{name}{question_mark}{query}"
    try:
        url = sa.make_url(database_url)
    except ValueError:
        raise sa.exc.ArgumentError("the URL of the database has a port that is no number") from None
    found = url.query.get("host", ())
    if isinstance(found, tuple):  # SQLAlchemy's own way: ?host=host1:5432&host=host2:5432
        places = [*found] or places
    elif "," in found:  # libpq's other one: ?host=host1,host2&port=5432,5432
        return _for_writing(url)
    return _for_writing(_name_hosts(url, places)) if len(places) > 1 else url


def _name_hosts(url: sa.URL, places: Sequence[str]) -> sa.URL:
    hosts, ports = zip(*map(_split_host, places), strict=True)
    named = {"host": ",".join(hosts)} | ({"port": ",".join(ports)} if any(ports) else {})
    return url.update_query_dict(named)


def _split_host(place: str) -> tuple[str, str]:
    """A host, also an IPv6 address in brackets, and its port or ""."""
    host, _, port = (place, "", "") if place.endswith("]") or ":" not in place else place.rpartition(":")
    if port and not port.isdecimal():
        raise sa.exc.ArgumentError("the URL of the database has a port that is no number")
    return host.strip("[]"), port


def _for_writing(url: sa.URL) -> sa.URL:
    return url if "target_session_attrs" in url.query else url.update_query_dict({"target_session_attrs": "read-write"})


def is_missing(database_url: str) -> bool:
    """True if the database is a file that is not there."""
    return database_url.startswith("sqlite") and not Path(sa.make_url(database_url).database or "").exists()


def open_engine(
    database_url: str, *, may_write: bool, policy: identities.IdentityPolicy = DEFAULT_POLICY, may_create: bool = False
) -> sa.Engine:
    """An engine whose connections know how addresses are stored. A missing file is made only with `may_create`.

    An engine that writes takes SQLite's write lock when a transaction begins, so that no transaction fails half-way for
    lack of it. An engine that only reads never waits for a writer (WAL)."""
    if not database_url.startswith("sqlite"):
        engine = sa.create_engine(
            parse_url(database_url),
            pool_pre_ping=True,
            pool_size=1 if may_write else 5,
            hide_parameters=True,
            execution_options=identities.engine_options(policy),
            connect_args=POSTGRESQL_OPTIONS,
        )
        sa.event.listen(engine, "handle_error", _leave_read_only_server)
        return engine
    path = sa.make_url(database_url).database or ""
    # If the file was moved away, no new one is made: the file that comes back would find a foreign log beside it.
    name = f"file:{quote(path)}?mode={'rwc' if may_create else 'rw'}"
    engine = sa.create_engine(
        database_url,
        creator=lambda: sqlite3.connect(
            name, uri=True, timeout=BUSY_TIMEOUT_S, check_same_thread=False, cached_statements=_PREPARED_STATEMENTS
        ),
        hide_parameters=True,  # a traceback in the log names no addresses
        execution_options=identities.engine_options(policy),
        **({"poolclass": NullPool} if may_write else {}),
    )

    def prepare(connection: Any, record: Any) -> None:  # Any: sqlite3's connection behind SQLAlchemy, and its record
        record.info["file"] = _file_identity(path)
        connection.isolation_level = None  # the driver's own BEGIN comes too late and is never IMMEDIATE
        cursor = connection.cursor()
        if may_create:
            # The file of a new database can then shrink (`retention.shrink_file`). This must come before its first
            # page, and waits for the write lock.
            cursor.execute("PRAGMA auto_vacuum=INCREMENTAL")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten
        cursor.execute("PRAGMA synchronous=FULL")  # a 250 means: on disk (docs/architecture.md#what-250-means)
        cursor.execute(f"PRAGMA journal_size_limit={MAX_LOG_OCTETS}")  # else it stays as large as it ever was
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA temp_store=MEMORY")
        # The writer waits for the lock itself.
        cursor.execute("PRAGMA busy_timeout=0" if may_write else "PRAGMA query_only=ON")
        cursor.close()

    turns = WriteTurns(BUSY_TIMEOUT_S)

    def checkout(_connection: object, record: Any, _proxy: object) -> None:  # Any: as above
        if record.info["file"] != _file_identity(path):
            raise sa.exc.DisconnectionError  # so that the pool opens another connection

    def begin(connection: sa.Connection) -> None:
        # The writer keeps its connection, so no checkout tests it. Commits into a file that has lost its name would be
        # lost.
        if may_write and connection.connection.info["file"] != _file_identity(path):
            gone = sqlite3.OperationalError("the database's file is gone, or is another one")
            raise sa.exc.OperationalError("BEGIN", None, gone)
        # Commits into a damaged file succeed as long as they touch no bad page; they would be lost, too.
        if may_write and _file_identity(path) in _damaged_files:
            damaged = sqlite3.OperationalError("the database's file is damaged")
            raise sa.exc.OperationalError("BEGIN", None, damaged)
        if not (may_write and turns.begin(connection)):
            connection.exec_driver_sql("BEGIN IMMEDIATE" if may_write else "BEGIN")

    def look(context: sa.engine.ExceptionContext) -> None:
        found = _file_identity(path)
        if found and found not in _damaged_files and errors.is_damage(context.original_exception):
            _damaged_files.add(found)
            log.database_damaged(path, errors.describe_error(context.original_exception))

    sa.event.listen(engine, "connect", prepare)
    sa.event.listen(engine, "checkout", checkout)
    sa.event.listen(engine, "begin", begin)
    sa.event.listen(engine, "handle_error", look)
    return engine


def _leave_read_only_server(context: sa.engine.ExceptionContext) -> None:
    """The server has become a standby: the next connection is to the one that takes writes."""
    if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY:
        context.is_disconnect = True


def is_current(connection: sa.Connection) -> bool:
    """True while SQLite's file that the connection has opened is the one that lies there by its name."""
    opened = connection.connection.info["file"]
    return opened is not None and opened == _file_identity(connection.engine.url.database or "")


def is_damaged(engine: sa.Engine) -> bool:
    """True if a connection of this process has met damage in the engine's file: nothing is committed to it any more."""
    path = engine.url.database if _damaged_files else None
    return engine.dialect.name == "sqlite" and path is not None and _file_identity(path) in _damaged_files


def _file_identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116  each commit asks, and a Path takes three times as long
    except OSError:
        return None
    return found.st_dev, found.st_ino
