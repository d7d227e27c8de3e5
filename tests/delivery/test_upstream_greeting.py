"""The first words between us and an upstream: connection, greeting and EHLO."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.bounce.classify import Phase
from relay.delivery.smtp import helo_name
from relay.delivery.smtp.failover import Upstreams
from tests.delivery.upstream_pool import mail, play, table
from tests.upstream import ScriptedUpstream
from tests.waypost_server import Waypost, html_mail


@pytest.fixture
def other() -> Iterator[ScriptedUpstream]:
    server = ScriptedUpstream(passwords={"ann": "a-word", "ben": "b-word", "shop": "s-word"})
    yield server
    server.close()


def test_a_slow_greeting_is_waited_for_longer_than_a_connection(other: ScriptedUpstream) -> None:
    other.greeting_after_s = 1.5

    async def scene(upstreams: Upstreams) -> None:
        [answer] = await upstreams.send(mail("slow@example.com"))
        assert answer.reply.code == 250

    play(scene, table(other.port, connect_timeout="1s"))


def test_a_greeting_that_never_comes_is_not_waited_for_for_ever(other: ScriptedUpstream) -> None:
    other.greeting_after_s = 3600

    async def scene(upstreams: Upstreams) -> None:
        [answer] = await upstreams.send(mail("mute@example.com"))
        assert (answer.phase, answer.reply) == (Phase.CONNECT, (0, "", "timed out"))

    play(scene, table(other.port, greeting_timeout="1s"))


def test_a_connection_that_does_not_come_about_is_given_up_in_time() -> None:
    with socket.socket() as full:  # connections beyond its backlog are not answered
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        crowd = [socket.socket() for _ in range(4)]
        for one in crowd:
            one.setblocking(False)
            one.connect_ex(full.getsockname())

        async def scene(upstreams: Upstreams) -> None:
            [answer] = await upstreams.send(mail("full@example.com"))
            assert (answer.phase, answer.reply) == (Phase.CONNECT, (0, "", "timed out"))

        play(scene, table(full.getsockname()[1], connect_timeout="1s"))
        for one in crowd:
            one.close()


@pytest.mark.parametrize("hostname", ["localhost", "relay", "localhost.localdomain", "10.1.2.3"])
def test_ehlo_never_has_a_name_without_a_dot(
    other: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch, hostname: str
) -> None:
    async def scene() -> None:
        upstreams = Upstreams([table(other.port)], hostname)
        await upstreams.send(mail("helo@example.com"))
        await upstreams.close()

    for machine, told in (
        ("mail.shop.test", "mail.shop.test"),
        ("box", "[127.0.0.1]"),
        ("box.localdomain", "[127.0.0.1]"),
    ):
        monkeypatch.setattr(socket, "getfqdn", lambda machine=machine: machine)
        helo_name.machine_name.cache_clear()
        asyncio.run(scene())
        assert other.greeted_by.pop() == told
    helo_name.machine_name.cache_clear()


def test_ehlo_has_a_configured_name_as_it_is(other: ScriptedUpstream) -> None:
    async def scene(upstreams: Upstreams) -> None:
        await upstreams.send(mail("helo@example.com"))

    play(scene, table(other.port))
    assert other.greeted_by == ["relay.test"]


def test_a_refused_ehlo_blames_no_mailbox(other: ScriptedUpstream, tmp_path: Path) -> None:
    other.at_helo = "501 5.5.4 Invalid domain name"
    with Waypost(tmp_path, other.port, '[delivery]\nretry = ["1s"]\n') as relay:
        assert relay.send(html_mail(), "innocent@example.com").startswith("250")
        relay.events("deferred", "innocent@example.com")
        assert relay.rows("suppressions", "list") == []
        other.at_helo = ""
        assert other.to("innocent@example.com")
    assert other.greeted_by and "localhost" not in other.greeted_by
    assert b'note  [relay] hostname is "localhost"' in relay.cli("check")
