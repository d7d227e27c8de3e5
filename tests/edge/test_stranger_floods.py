"""Strangers in masses take their own places, time and work, and none of those who may relay."""

import asyncio
import contextlib
import smtplib
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from relay import clients, ids, return_path, tokens
from relay.clients import HOUR_S, EventCounter, Limit
from relay.config.schema import Config
from relay.delivery.return_path_mail import ReturnPathMail
from relay.edge.server import Edge
from relay.envelope import AcceptedMessage
from relay.reply import Reply
from relay.return_path import Purpose, ReturnToken
from relay.store.console import accounts
from relay.store.store import Store
from tests import sqlite_file
from tests.return_path.return_path_scene import DOMAIN
from tests.smtp_client import connected
from tests.upstream import ScriptedUpstream
from tests.waiting import until
from tests.waypost_server import Waypost, free_port

RELAYING_CLIENT = "127.1.0.1"


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Waypost]:
    tables = (
        '[access]\nnetworks = ["127.1.0.0/16"]\nmax_connections = 80\nmax_connections_per_ip = 2\n'
        f'[[access.user]]\nname = "app"\npassword_hash = "{accounts.hash_password("right")}"\n'
        f'[[listen]]\naddress = "127.0.0.1:{free_port()}"\nproxy_protocol = true\n'
    )
    with Waypost(tmp_path_factory.mktemp("crowds"), None, tables) as running:
        yield running


@contextlib.contextmanager
def greeted(relay: Waypost, source: str) -> Iterator[str]:
    """The greeting; IPv6 clients come through a balancer."""
    if ":" not in source:
        with connected(relay.port, source) as (_, replies):
            yield replies.next()
        return
    port = int(relay.ready.partition("smtp=")[2].split()[0].split(",")[1].rpartition(":")[2])
    with connected(port) as (client, replies):
        client.sendall(f"PROXY TCP6 {source} 2001:db8::25 4711 25\r\n".encode())
        yield replies.next()


def test_a_network_has_what_one_address_has_and_wider_ones_more(relay: Waypost) -> None:
    for hosts, too_many in (
        (("127.9.0.1", "127.9.0.2", "127.9.0.3"), "127.9.0.4"),
        (("2001:db8:9:1::1", "2001:db8:9:2::1", "2001:db8:9:3::1"), "2001:db8:9:4::1"),
    ):
        with contextlib.ExitStack() as open_:
            for host in hosts:
                other = f"{host}7" if ":" in host else host  # the same /64
                for source in (host, other):
                    assert open_.enter_context(greeted(relay, source)).startswith("220 ")
                assert open_.enter_context(greeted(relay, host)).startswith(
                    "421 4.7.0 too many connections from your a"
                )
            assert open_.enter_context(greeted(relay, too_many)).startswith(
                "421 4.7.0 too many connections from your network"
            )
            assert open_.enter_context(greeted(relay, RELAYING_CLIENT)).startswith("220 ")


def test_strangers_take_a_quarter_of_the_places_and_those_who_may_relay_find_one(relay: Waypost) -> None:
    with contextlib.ExitStack() as open_:
        for n in range(10):
            for _ in range(2):
                assert open_.enter_context(greeted(relay, f"127.{20 + n}.0.1")).startswith("220 ")
        with greeted(relay, "127.50.0.1") as greeting:
            assert greeting == "421 4.3.2 too many connections, try again later"
        for n in range(6):  # of one network, but one's own
            assert open_.enter_context(greeted(relay, f"127.1.0.{n + 2}")).startswith("220 ")
    places_are_free(relay)


def test_who_logs_in_takes_no_strangers_place(relay: Waypost) -> None:
    with contextlib.ExitStack() as open_:
        for n in range(10):
            for _ in range(2):
                source = (f"127.{70 + n}.0.1", 0)
                client = open_.enter_context(smtplib.SMTP("127.0.0.1", relay.port, timeout=60, source_address=source))
                client.ehlo()
                assert client.login("app", "right")[0] == 235
        with greeted(relay, "127.90.0.1") as greeting:
            assert greeting.startswith("220 ")
    places_are_free(relay)


def places_are_free(relay: Waypost) -> None:
    def greeting(source: str) -> str:
        with greeted(relay, source) as line:
            return line

    with contextlib.ExitStack() as open_:
        for n in range(20):
            source = f"127.{100 + n}.0.1"
            until(partial(greeting, source), fits=lambda line: line.startswith("220 "))
            open_.enter_context(greeted(relay, source))


def test_a_stranger_that_only_talks_is_let_go_and_a_client_is_not(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    tables = f'[access]\nnetworks = ["127.1.0.0/16"]\nidle_timeout = "2s"\n[bounces]\nreturn_path = "{DOMAIN}"\n'
    with (
        Waypost(tmp_path, upstream.port, tables) as relay,
        connected(relay.port, "127.9.0.1") as (stranger, replies),
        connected(relay.port, RELAYING_CLIENT) as (client, answers),
    ):
        replies.next(), answers.next()

        def talk() -> str:
            client.sendall(b"NOOP\r\n")
            assert answers.next().startswith("250")
            stranger.sendall(b"NOOP\r\n")
            return replies.next()

        said = until(talk, fits=lambda reply: reply.startswith("421"), every_s=0.2)
        assert said == "421 4.4.2 too long without a mail"
        client.sendall(b"NOOP\r\n")
        assert answers.next().startswith("250")


def test_commands_without_mail_end_for_clients_too(relay: Waypost) -> None:
    with socket.create_connection(("127.0.0.1", relay.port), 60, (RELAYING_CLIENT, 0)) as client:
        replies = client.makefile("rb")
        replies.readline()
        for _ in range(100):
            client.sendall(b"NOOP\r\n" * 100)
            assert [replies.readline()[:3] for _ in range(100)] == [b"250"] * 100
        client.sendall(b"NOOP\r\n" * 30)
        assert replies.read().endswith(b"421 4.7.0 too many errors\r\n")


async def _say(port: int, source: str, *lines: bytes) -> bytes:
    """The last reply."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    reply = await reader.readline()
    for line in lines:
        writer.write(line)
        while (reply := await reader.readline())[3:4] == b"-":
            pass
        if reply[:1] in b"45":
            break
    writer.close()
    return reply


def test_a_network_whose_reports_took_their_time_is_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "report_reading_limit", lambda: EventCounter((Limit(1, HOUR_S),)))
    config = Config.model_validate({"bounces": {"return_path": DOMAIN}, "access": {"networks": ["127.1.0.0/16"]}})

    async def take(accepted: AcceptedMessage) -> Reply:
        raise AssertionError

    async def admit(*_: object) -> None:
        return None

    async def run(opened: Store) -> list[bytes]:
        ring = tokens.open_key_ring(tmp_path / "keys.json")
        reports = ReturnPathMail(config, opened, ring)
        told = ReturnToken(Purpose.BOUNCE, ids.new(datetime.now(UTC)), 0)
        to = return_path.make_mailbox(ring.derive_secret(return_path.KEY_PURPOSE), DOMAIN, told).encode()
        edge = Edge(config, take, admit, return_path=reports)
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        edge.start([listener])
        port = listener.getsockname()[1]
        head = (b"EHLO mx.test\r\n", b"MAIL FROM:<>\r\n", b"RCPT TO:<%s>\r\n" % to, b"DATA\r\n")
        vacation = b"Auto-Submitted: auto-replied\r\nSubject: away\r\n\r\nx\r\n.\r\n"
        sources = ("127.9.0.1", "127.9.0.1", "127.99.0.1", RELAYING_CLIENT, RELAYING_CLIENT)
        said = [await _say(port, source, *head, vacation) for source in sources]
        await edge.drain(5)
        await reports.close()
        return said

    url = sqlite_file.make_database_with_tables(tmp_path)
    with contextlib.closing(Store(url, tmp_path)) as opened:
        first, again, other, *ours = asyncio.run(run(opened))
    assert first.startswith(b"250 2.0.0") and other.startswith(b"250 2.0.0")
    assert again.startswith(b"451 4.7.0 too many reports from your network")
    assert all(reply.startswith(b"250 2.0.0") for reply in ours)
