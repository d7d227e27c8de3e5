"""Which upstream, which connection, whose credentials: the pool against the scripted server."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.address import Mailbox
from relay.config import schema
from relay.config.values import HostPort
from relay.delivery.fit import Outgoing
from relay.delivery.upstream import Upstreams
from relay.envelope import Login, Recipient
from tests.stage import Waypost, free_port
from tests.upstream import Upstream

ANN, BEN = Login("ann", "a-word"), Login("ben", "b-word")


@pytest.fixture
def other() -> Iterator[Upstream]:
    server = Upstream(passwords={"ann": "a-word", "ben": "b-word", "shop": "s-word"})
    yield server
    server.close()


def table(port: int, **keys: object) -> schema.Upstream:
    return schema.Upstream.model_validate({"address": HostPort("127.0.0.1", port), "tls": "off", **keys})


def mail(*recipients: str, login: Login | None = None, octets: bytes = b"Subject: x\r\n\r\nx\r\n") -> Outgoing:
    async def render(_seven_bit: bool) -> bytes:
        return octets

    return Outgoing("app@sender.test", [Recipient(Mailbox(one)) for one in recipients], render, login=login)


def test_a_login_is_tried_upstream_and_its_connection_kept_for_its_own_mail_only(other: Upstream) -> None:
    async def play() -> None:
        upstreams = Upstreams([table(other.port, username="shop", password="s-word")], "relay.test")
        assert (await upstreams.try_login(ANN)).code == 235
        assert str(await upstreams.try_login(Login("ann", "wrong"))).startswith("535 5.7.8 bad credentials")
        connections = other.connections
        [answer] = await upstreams.send(mail("a@example.com", login=ANN))
        assert answer.reply.accepts and other.connections == connections
        await upstreams.send(mail("b@example.com", login=BEN))
        await upstreams.send(mail("c@example.com"))
        assert other.connections == connections + 2
        await upstreams.send(mail("d@example.com", login=ANN))
        assert other.connections == connections + 2
        await upstreams.close()

    asyncio.run(play())
    assert [arrival.user for arrival in other.arrivals] == ["ann", "ben", "shop", "ann"]


def test_a_login_cannot_be_checked_while_the_upstream_is_out() -> None:
    upstreams = Upstreams([table(free_port())], "relay.test")
    reply = asyncio.run(upstreams.try_login(ANN))
    assert reply[:2] == (454, "4.7.0") and "try again later" in reply.text
    assert "a-word" not in repr(ANN)


def test_credentials_of_clients_need_an_upstream_that_knows_them(tmp_path: Path) -> None:
    relay = Waypost(tmp_path, tables='[access]\nauth = "upstream"\n')
    assert b"needs an [[upstream]] that knows the passwords" in relay.cli("check", status=1)
    with relay.config.open("a") as config:
        config.write('[[upstream]]\naddress = "smtp.example.com:25"\ntls = "off"\n')
    assert b'passwords in clear ([access] auth = "upstream")' in relay.cli("check", status=1)
