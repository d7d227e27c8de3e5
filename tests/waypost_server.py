"""Waypost itself, started as a user starts it: a real process, a real configuration, real sockets."""

import contextlib
import json
import os
import re
import secrets
import signal
import smtplib
import socket
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import Any

import httpx
import sqlalchemy as sa

from relay.store.database import engine
from relay.store.database.engine import DATABASE_FILE
from tests import postgresql_server, sqlite_file
from tests.fork_server import ForkServer, Process
from tests.postgresql_server import IS_POSTGRESQL
from tests.waiting import MAX_WAIT_S, until

ROOT = Path(__file__).parents[1]
FORK_SERVER = ForkServer()

_PORTS = 1500  # of each test process its own, so that none takes another's while a server is started again
_FIRST_PORT = 20_000 + _PORTS * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 8)
_given_out: set[int] = set()


def free_port() -> int:
    """One that no other test has had, nor the system gives to clients: theirs it could be between two starts."""
    while True:
        port = _FIRST_PORT + secrets.randbelow(_PORTS)
        if port in _given_out and len(_given_out) < _PORTS - 100:
            continue
        _given_out.add(port)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Waypost:
    """A server in a folder of its own. `tables` is TOML that goes into its configuration."""

    def __init__(self, folder: Path, upstream_port: int | None = None, tables: str = "", relay: str = "") -> None:
        self.folder = folder
        self.port, tracking, console = free_port(), free_port(), free_port()
        self.tracking, self.console = f"http://127.0.0.1:{tracking}", f"http://127.0.0.1:{console}"
        upstream = (
            f'[[upstream]]\nname = "scripted"\naddress = "127.0.0.1:{upstream_port}"\ntls = "off"\n'
            if upstream_port
            else ""
        )
        self.database_url = f"sqlite:///{folder / 'data' / DATABASE_FILE}"
        database = ""
        if found := re.search(r'\[database\]\nurl = "(.+)"', tables):
            self.database_url = found[1]
        elif IS_POSTGRESQL and "[database]" not in tables:
            self.database_url = postgresql_server.make_database_with_tables()
            database = f'[database]\nurl = "{self.database_url}"\n'
            weakref.finalize(self, postgresql_server.drop_database, self.database_url).atexit = False
        self.config = folder / "config.toml"
        folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(
            f'[relay]\ndata_dir = "data"\n{relay}\n'
            f'[[listen]]\naddress = "127.0.0.1:{self.port}"\n'
            f'[console]\nlisten = "127.0.0.1:{console}"\n'
            f"{database}{upstream}{tables}\n" + ("" if "[tracking]" in tables else "[tracking]\n")
        )
        text = self.config.read_text()
        place = f'[tracking]\npublic_url = "{self.tracking}"\nlisten = "127.0.0.1:{tracking}"\n'
        self.config.write_text(text.replace("[tracking]\n", place))
        self.is_first_start = False  # True: on a machine that has nothing of ours, as users start it first
        self.mistakes: list[str] = []  # functions of the program, as module:function, that fail each time
        self.process: Process | None = None
        self.ready = ""

    def start(self, *words: str) -> "Waypost":
        self._copy_schema()
        reads, writes = os.pipe()
        with Path(os.devnull).open("rb") as nothing, (self.folder / "log").open("ab") as log:
            mistakes = [f"--mistake={one}" for one in self.mistakes]
            command = [*mistakes, "serve", "--config", str(self.config), *words]
            self.process = FORK_SERVER.start(command, nothing, writes, log)
        os.close(writes)
        self._stdout = os.fdopen(reads)
        self.ready = self._stdout.readline().strip()
        if not self.ready.startswith("ready "):
            self._stdout.close()
            raise AssertionError(self.read_log())
        return self

    def _copy_schema(self) -> None:
        """Puts an empty database there, as a first start makes it: that took half of a start's processor time."""
        data = self.folder / "data"
        if (
            self.is_first_start
            or data.exists()
            or any(key in self.config.read_text() for key in ("[database]", "user =", "user="))
        ):
            return
        data.mkdir(mode=0o700)
        sqlite_file.make_database_with_tables(data)

    def stop(self, timeout_s: float = MAX_WAIT_S) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.wait(timeout_s)

    def wait(self, timeout_s: float = MAX_WAIT_S) -> int:
        """The exit status of a server that has been told to stop."""
        assert self.process is not None
        status = self.process.wait(timeout_s)
        self._closed()
        return status

    def kill(self) -> None:
        """kill -9, as a power cut would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(MAX_WAIT_S)
        self._closed()

    def _closed(self) -> None:
        self._stdout.close()
        self.process = None

    def __enter__(self) -> "Waypost":
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.stop()

    def children(self) -> list[int]:
        """The processes of the roles, in the order of their start: mail first."""
        assert self.process is not None
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def processor_s(self) -> float:
        """What the roles have used of the processor so far."""
        stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self.children()]
        return sum(int(fields[11]) + int(fields[12]) for fields in stats) / os.sysconf("SC_CLK_TCK")

    @contextmanager
    def connected(self, *, writes: bool = True) -> Iterator[sa.Connection]:
        """A transaction of somebody else's in this server's database. It commits at the end."""
        database = engine.open_engine(self.database_url, may_write=writes)
        try:
            with database.begin() as connection:
                yield connection
        finally:
            database.dispose()

    def stored_octets(self) -> bytes:
        """All rows of a PostgreSQL database as text, for searches."""
        return postgresql_server.read_all_rows(self.database_url)

    def sql(self, statement: str, **values: object) -> list[tuple[Any, ...]]:
        """Runs a statement in this server's database. Returns its rows, if it has any."""
        with self.connected(writes=not statement.startswith("SELECT")) as connection:
            done = connection.execute(sa.text(statement), values)
            return [tuple(row) for row in done] if done.returns_rows else []

    @contextmanager
    def locked(self) -> Iterator[sa.Connection]:
        """Somebody else holds the database's write lock."""
        with self.connected() as connection:
            if connection.dialect.name == "postgresql":
                _lock_tables(connection)
            yield connection

    def read_log(self) -> str:
        return (self.folder / "log").read_text()

    def wait_for_log(self, *words: str, count: int = 1) -> list[str]:
        """The lines of the log that have all the words, as soon as there are that many."""
        return until(
            lambda: [line for line in self.read_log().splitlines() if all(word in line for word in words)],
            lambda: f"not {count} lines with {words} in\n{self.read_log()}",
            fits=lambda found: len(found) >= count,
        )

    def client(self) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self.port, local_hostname="app.test", timeout=60)

    def send(
        self, octets: bytes, *recipients: str, sender: str = "app@sender.test", options: tuple[str, ...] = ()
    ) -> str:
        """Sends by SMTP, as an app would. Returns the reply to the dot, code and text."""
        with self.client() as client:
            client.ehlo()
            code, text = client.mail(sender, options)
            assert code == 250, text
            for recipient in recipients:
                code, text = client.rcpt(recipient)
                assert code == 250, text
            code, text = client.data(octets)
            return f"{code} {text.decode()}"

    def cli(self, *words: str, stdin: bytes = b"", status: int = 0) -> bytes:
        """Standard output of a command on this server's configuration; its errors, where another status is due."""
        done, output, errors = self.command(*words, stdin=stdin)
        assert done == status, (done, errors.decode())
        return output if status == 0 else errors

    def command(self, *words: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
        """Status, output and errors of a command on this server's configuration."""
        with tempfile.TemporaryFile() as fed, tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complained:
            fed.write(stdin)
            fed.seek(0)
            done = FORK_SERVER.start([*words, "--config", str(self.config)], fed, said, complained).wait(60)
            said.seek(0)
            complained.seek(0)
            return done, said.read(), complained.read()

    def rows(self, *words: str) -> list[dict[str, Any]]:
        """A command's JSON lines."""
        return [json.loads(line) for line in self.cli(*words).splitlines()]

    def wait_for_rows(self, *words: str, fits: Callable[[list[dict[str, Any]]], object]) -> list[dict[str, Any]]:
        """The same, as soon as it shows what is committed a moment later: what was on the wire before, say."""
        return until(lambda: self.rows(*words), fits=fits, every_s=0.1)

    def events(self, type_: str, recipient: str, count: int = 1) -> list[dict[str, Any]]:
        """The recipient's events of a type, as soon as there are that many."""

        def look() -> list[dict[str, Any]]:
            rows = self.rows("events", "--limit", "10000")
            return [row for row in rows if row["type"] == type_ and row["recipient"] == recipient]

        return until(look, fits=lambda found: len(found) >= count, every_s=0.1)

    def get(self, path: str, **more: Any) -> httpx.Response:
        return httpx.get(path if path.startswith("http") else f"{self.tracking}{path}", **more)


def _lock_tables(connection: sa.Connection) -> None:
    """Locks all tables against writing. A transaction that has one of them and wants another goes first."""
    names = ", ".join(sa.inspect(connection).get_table_names())
    while True:
        try:
            with connection.begin_nested():
                connection.exec_driver_sql("SET LOCAL lock_timeout = '50ms'")
                connection.exec_driver_sql(f"LOCK TABLE {names} IN EXCLUSIVE MODE")
            return
        except sa.exc.OperationalError:
            sleep(0.05)


def html_mail(
    subject: str = "Hello", link: str = "https://shop.example/a?b=1", header: str = "", extra: str = ""
) -> bytes:
    """A small HTML mail with one link."""
    return (
        f"From: App <app@sender.test>\r\nTo: you@example.com\r\nSubject: {subject}\r\n"
        "Date: Thu, 12 Nov 2026 09:01:00 +0000\r\nMessage-ID: <m1@sender.test>\r\n"
        f"MIME-Version: 1.0\r\n{header}Content-Type: text/html; charset=utf-8\r\n\r\n"
        f'<html><body><p>See <a href="{link}">this</a>.</p>{extra}</body></html>\r\n'
    ).encode()


def tracking_urls(octets: bytes) -> dict[str, list[str]]:
    """The tracking URLs in a mail, by kind: o, c, u."""
    found: dict[str, list[str]] = {"o": [], "c": [], "u": []}
    for hit in re.finditer(rb"https?://[^\s\"'<>]+?/([ocu])/[A-Za-z0-9_-]+(?:\.gif)?", octets.replace(b"=\r\n", b"")):
        found[hit[1].decode()].append(hit[0].decode())
    return found
