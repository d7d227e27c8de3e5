"""Both applications on real sockets, in front of a real store, with mail already filed."""

import asyncio
import contextlib
import logging
import re
import socket
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx
import sqlalchemy as sa
from cryptography import x509

from relay import clients, ids, tokens
from relay.config.schema import Config
from relay.edits import Hole, Kind
from relay.event_type import EventType
from relay.node import maintenance
from relay.rewrite.pixel import GIF, PNG
from relay.store import store
from relay.store.console import accounts
from relay.store.database import identities, tables
from relay.store.database.rows import Delivery, Message
from relay.store.database.tables import Status
from relay.store.queue import deliveries as queue
from relay.store.queue import queue_facts
from relay.store.tracking import hit_facts, hits
from tests import postgresql_server, sqlite_file
from tests.postgresql_server import IS_POSTGRESQL
from tests.waiting import until
from tests.waypost_server import free_port
from web import app
from web.inbound.certificates import Fetch
from web.server import protocol
from web.server.connections import WebConnections
from web.server.listener import Listener
from web.server.request_limits import DEFAULTS, RequestLimits

T = TypeVar("T")
NAME, PASSWORD = "ann", "correct horse"
URL = b"https://shop.example/a?b=1&c=%7Bx%7D"
MAIL = b"From: app@example.com\r\nTo: you@example.com\r\nSubject: Hello\r\n\r\nHello.\r\n"


async def fetch_nothing(url: str) -> bytes:
    raise OSError(f"no network in tests: {url}")


class Scene:
    """A web side in a folder. `tables` are those of the configuration."""

    def __init__(
        self,
        folder: Path,
        tables: Mapping[str, Mapping[str, object]] | None = None,
        path: str = "",
        fetch: Fetch | None = None,
        roots: Sequence[x509.Certificate] | None = None,
        limits: RequestLimits = DEFAULTS,
        max_open: int = 1000,
        is_public: Callable[[str], bool] = lambda ip: False,
        rate: clients.Limit = clients.Limit(1000, 1.0),
        replays: bool = True,
    ) -> None:
        """`replays`: facts whose commit took longer than a second are committed from the journal, as the role does."""
        tracking, console = free_port(), free_port()
        self.tracking, self.console = f"http://127.0.0.1:{tracking}", f"http://127.0.0.1:{console}"
        tables = dict(tables or {})
        tables["tracking"] = {"public_url": self.tracking + path, "listen": f"127.0.0.1:{tracking}"} | dict(
            tables.get("tracking", {})
        )
        tables["console"] = {"listen": f"127.0.0.1:{console}"} | dict(tables.get("console", {}))
        self.config = Config.model_validate(tables)
        if IS_POSTGRESQL:
            url = postgresql_server.make_database_with_tables()
            weakref.finalize(self, postgresql_server.drop_database, url).atexit = False
        else:
            url = sqlite_file.make_database_with_tables(folder)
        self.folder, self.database_url, self._replays = folder, url, replays
        self.ring = tokens.open_key_ring(folder / "keys.json")
        privacy = self.config.privacy
        known = identities.IdentityPolicy(
            privacy.mode, self.ring.derive_secret(identities.KEY_PURPOSE), privacy.consent == "asked"
        )
        self.store = store.Store(url, folder, known)
        trusted = self.config.tracking.trusted_proxies
        apps = {
            "tracking": app.make_tracking_app(self.config, self.store, self.ring, fetch or fetch_nothing, roots),
            "console": app.make_console_app(self.config, self.store, self.ring),
        }
        sites = {site: WebConnections(site, trusted, lambda: max_open, is_public, rate) for site in apps}
        self._servers = [protocol.Server(one, sites[site], limits) for site, one in apps.items()]
        ports = {"tracking": tracking, "console": console}
        self._sockets = [Listener(_listening(ports[site]), one.count_arrival) for site, one in sites.items()]
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    async def _serve(self) -> None:
        replaying = asyncio.create_task(maintenance.run_replay(self.store)) if self._replays else None
        await asyncio.gather(
            *(server.serve([listener]) for server, listener in zip(self._servers, self._sockets, strict=True))
        )
        if replaying is not None:
            replaying.cancel()
            await asyncio.wait({replaying})

    def __enter__(self) -> "Scene":
        self._thread.start()
        until(lambda: all(server.started for server in self._servers))
        self.http = httpx.Client(base_url=self.tracking, headers={"user-agent": "Mozilla/5.0 (X11) Firefox/140"})
        return self

    def stop(self) -> None:
        """Both servers shut down as on SIGTERM."""
        for server in self._servers:
            server.should_exit = True
        self._thread.join()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.http.close()
        self.stop()
        self.store.close()

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        return self.store.writer.submit(work).result(60)

    def read(self, work: Callable[[sa.Connection], T]) -> T:
        with self.store.connect() as connection:
            return work(connection)

    def file(
        self,
        *recipients: str,
        octets: bytes | None = MAIL,
        status: Status = Status.DELIVERED,
        attempt: queue_facts.AttemptRecord | None = None,
        outcome: Mapping[str, Any] | None = None,  # Any: further fields of the outcomes
        **fields: Any,  # Any: those of the message's row
    ) -> str:
        """A message that was accepted just now. Returns its id."""
        now = datetime.now(UTC)
        row: dict[str, Any] = {
            "id": ids.new(),
            "accepted_at": now,
            "expires_at": now + timedelta(days=5),
            "subject": "Hello",
            "author": "app@example.com",
            "message_id": "1@example.com",
            "stream": "news",
            "size_octets": len(octets or b""),
        } | fields
        message = Message(**row)
        recipients = recipients or ("you@example.com",)
        deliveries = [
            Delivery(message=message.id, number=number, recipient=recipient, next_attempt_at=now)
            for number, recipient in enumerate(recipients)
        ]
        attempt = attempt or queue_facts.AttemptRecord("primary", "dot", 250, "2.0.0", "queued as 1A2B", 120)
        all_outcomes = [
            queue_facts.Outcome(ids.new(), number, recipient, status, now, attempt=attempt, **outcome or {})
            for number, recipient in enumerate(recipients)
        ]
        self.write(
            lambda connection: queue.insert_message(
                connection, queue_facts.NewMessage(message, octets, deliveries, all_outcomes)
            )
        )
        return message.id

    def hit(self, message: str, type_: EventType, verdict: str, number: int = 0, **fields: Any) -> None:
        """An event as the web side would write it. Any: fields of the hit."""
        hit = hit_facts.Hit(ids.new(), type_, datetime.now(UTC), message, number, verdict, **fields)
        self.write(lambda connection: hits.record_hit(connection, hit))

    def path(self, kind: Kind, message: str, number: int = 0, url: bytes = URL, link: int = 1) -> str:
        """The path of a tracking URL, with its suffix for a pixel."""
        hole = Hole(kind, link if kind is Kind.CLICK else 0, url if kind is Kind.CLICK else b"")
        suffix = ".gif" if kind is Kind.OPEN else ""
        return f"/{kind}/{self.ring.mint(hole, message, number)}{suffix}"

    def delivery(self, message: str, number: int = 0) -> sa.RowMapping:
        query = sa.select(tables.delivery).filter_by(message=message, number=number)
        return self.read(lambda connection: connection.execute(query).mappings().one())

    def events(self, message: str, *types: EventType) -> list[sa.RowMapping]:
        """The events of recipients' doing, or of those types, in order."""
        wanted = types or (EventType.OPENED, EventType.CLICKED, EventType.UNSUBSCRIBED)
        query = (
            sa.select(tables.event)
            .where(tables.event.c.message == message, tables.event.c.type.in_(wanted))
            .order_by(tables.event.c.id)
        )
        return self.read(lambda connection: list(connection.execute(query).mappings()))

    def sign_in(self) -> httpx.Client:
        """A console client with a session."""
        if not self.read(lambda connection: accounts.password_hash(connection, NAME)):  # a new password ends sessions
            self.write(lambda connection: accounts.set_password(connection, NAME, PASSWORD, datetime.now(UTC)))
        answer = httpx.post(f"{self.console}/login", data={"name": NAME, "password": PASSWORD})
        assert answer.status_code == 303, answer.text
        return httpx.Client(base_url=self.console, cookies=answer.cookies)


def _listening(port: int) -> socket.socket:
    listener = socket.socket(
        socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP
    )  # or asyncio leaves Nagle's delay on
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(1024)
    return listener


@contextlib.contextmanager
def no_fault_logged() -> Iterator[None]:
    """Nothing is logged as an error, nor with a traceback."""
    faults: list[str] = []

    class Noted(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.ERROR or record.exc_info:
                faults.append(record.getMessage())

    handler = Noted()
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
    assert not faults


def is_image(answer: httpx.Response, kind: str) -> bool:
    assert answer.status_code == 200
    assert answer.headers["content-type"] == f"image/{kind}"
    assert answer.headers["cache-control"] == "no-store, no-cache, must-revalidate, private, max-age=0"
    assert answer.headers["pragma"] == "no-cache"
    assert answer.headers["expires"] == "0"
    assert "set-cookie" not in answer.headers
    assert int(answer.headers["content-length"]) == len(GIF if kind == "gif" else PNG)
    return answer.content == (GIF if kind == "gif" else PNG)


def csrf(page: httpx.Response) -> str:
    """The secret of a page's forms."""
    found = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert found
    return found[1]
