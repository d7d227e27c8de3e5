"""`[database] url`: one PostgreSQL server or several, and a server that takes no writes any more."""

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from relay.store.database import engine, migrate, tables
from relay.store.store import Store
from tests import postgresql_server
from tests.message_factory import insert_messages, new_message
from tests.waypost_server import Waypost

SCHEME = "postgresql+psycopg://"
ONE = {"host": "db.example", "port": 5433, "dbname": "waypost", "user": "ann", "password": "p@ss"}
TWO = ONE | {"host": "one.example,two.example", "port": "5432,5433", "target_session_attrs": "read-write"}


@pytest.mark.parametrize(
    ("url", "parameters"),
    [
        ("ann:p%40ss@db.example:5433/waypost", ONE),
        ("ann:p%40ss@one.example:5432,two.example:5433/waypost", TWO),
        ("ann:p%40ss@/waypost?host=one.example,two.example&port=5432,5433", TWO),
        ("ann:p%40ss@/waypost?host=one.example:5432&host=two.example:5433", TWO),
        (
            "ann:p%40ss@one.example:5432,two.example:5433/waypost?target_session_attrs=any&sslmode=require",
            TWO | {"target_session_attrs": "any", "sslmode": "require"},
        ),
        (
            "one.example,two.example/waypost",
            {"host": "one.example,two.example", "dbname": "waypost", "target_session_attrs": "read-write"},
        ),
        (
            "[2001:db8::1]:5432,[2001:db8::2]/waypost",
            {
                "host": "2001:db8::1,2001:db8::2",
                "port": "5432,",
                "dbname": "waypost",
                "target_session_attrs": "read-write",
            },
        ),
        ("/waypost?host=/run/postgresql", {"host": "/run/postgresql", "dbname": "waypost"}),
    ],
)
def test_the_driver_is_given_all_servers_and_takes_the_one_that_writes(url: str, parameters: dict[str, object]) -> None:
    parsed = engine.parse_url(SCHEME + url)
    _, given = parsed.get_dialect()().create_connect_args(parsed)
    assert {name: value for name, value in given.items() if value != ","} == parameters


@pytest.mark.parametrize("server", ["db.example:54x", "one.example,two.example:54x"])
def test_a_port_that_is_no_number_is_named(server: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="a port that is no number"):
        engine.parse_url(f"{SCHEME}{server}/waypost")
    relay = Waypost(tmp_path, tables=f'[database]\nurl = "{SCHEME}ann:secret@{server}/waypost"\n')
    said = relay.cli("check", status=1)
    assert b"[database] url: has a port that is no number" in said and b"secret" not in said


def test_a_server_that_takes_no_writes_any_more_is_left(postgresql: Callable[[], str], tmp_path: Path) -> None:
    def demote(connection: sa.Connection) -> None:
        connection.exec_driver_sql("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")

    def write(connection: sa.Connection) -> None:
        connection.exec_driver_sql("CREATE TABLE written ()")

    store = Store(postgresql(), tmp_path)
    store.writer.submit(demote).result(60)
    with pytest.raises(SQLAlchemyError):
        store.writer.submit(write).result(60)
    store.writer.submit(write).result(60)  # by a new connection
    store.close()


def test_octets_of_mail_are_stored_as_they_are(postgresql_with_tables: Callable[[], str], tmp_path: Path) -> None:
    """PostgreSQL took longer to compress a large mail than to store it."""
    url = postgresql_with_tables()
    store = Store(url, tmp_path)
    octets = b"a line that is easy to compress\r\n" * 10_000
    insert_messages(store, new_message("ann@example.com", octets=octets))
    with store.connect() as connection:
        assert connection.scalar(sa.text("SELECT pg_column_size(octets) FROM content")) == len(octets)
        assert connection.scalar(sa.select(tables.content.c.octets)) == octets
    store.close()


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ("ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'", b"has the encoding SQL_ASCII"),
        ("ENCODING 'UTF8' LC_COLLATE 'cs_CZ.UTF-8' LC_CTYPE 'cs_CZ.UTF-8'", b"sorts by a language"),
        ("ENCODING 'UTF8' LC_COLLATE 'da_DK.UTF-8' LC_CTYPE 'da_DK.UTF-8'", b"sorts by a language"),
        ("ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'hu'", b"sorts by a language"),
        ("ENCODING 'UTF8' LC_COLLATE 'de_DE.UTF-8' LC_CTYPE 'de_DE.UTF-8'", b""),
        ("ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'en'", b""),
        ("ENCODING 'UTF8' LC_COLLATE 'C'", b""),
    ],
    ids=["octets", "Czech", "Danish", "Hungarian by ICU", "German", "English by ICU", "code points"],
)
def test_a_database_that_loses_characters_or_sorts_ids_by_a_language_is_refused(
    options: str, fault: bytes, tmp_path: Path
) -> None:
    try:
        url = postgresql_server.make_database(f" TEMPLATE template0 {options}")
    except psycopg.Error as error:
        pytest.skip(f"this PostgreSQL has no such database: {error.diag.message_primary}")
    relay = Waypost(tmp_path, tables=f'[database]\nurl = "{url}"\n')
    if not fault:
        assert relay.rows("messages") == []
        return
    for command in ("messages", "serve"):
        answer = relay.cli(command, status=1).splitlines()[-1]
        assert answer.startswith(b"waypost: the database " + fault)
        assert b"CREATE DATABASE waypost TEMPLATE template0 ENCODING 'UTF8'" in answer


@pytest.mark.parametrize("version", ["0001", "newest"])
def test_it_is_refused_too_if_a_dump_of_another_one_was_put_into_it(version: str, tmp_path: Path) -> None:
    url = postgresql_server.make_database(" TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
    stored = max(migrate._known_versions()) if version == "newest" else version
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
        connection.execute("INSERT INTO alembic_version VALUES (%s)", [stored])
    relay = Waypost(tmp_path, tables=f'[database]\nurl = "{url}"\n')
    for command in ("messages", "serve"):
        answer = relay.cli(command, status=1).splitlines()[-1]
        assert answer.startswith(b"waypost: the database has the encoding SQL_ASCII")
        assert b"CREATE DATABASE waypost TEMPLATE" in answer and b"pg_dump --no-owner OLD | psql -1 waypost" in answer
