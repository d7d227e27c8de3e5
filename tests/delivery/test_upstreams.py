"""Which upstream, which connection, whose credentials: the pool against the scripted server."""

import asyncio
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from relay.bounce.classify import Phase
from relay.config import load
from relay.config.values import FileSecret
from relay.delivery.smtp.breaker import Breaker
from relay.delivery.smtp.failover import Upstreams
from relay.delivery.smtp.rate_limit import RateLimiter
from relay.envelope import Login
from tests.delivery.upstream_pool import mail, play, table
from tests.upstream import ScriptedUpstream
from tests.waiting import until_async
from tests.waypost_server import Waypost, free_port

ANN, BEN = Login("ann", "a-word"), Login("ben", "b-word")


@pytest.fixture
def other() -> Iterator[ScriptedUpstream]:
    server = ScriptedUpstream(passwords={"ann": "a-word", "ben": "b-word", "shop": "s-word"})
    yield server
    server.close()


def test_a_login_is_tried_upstream_and_its_connection_kept_for_its_own_mail_only(other: ScriptedUpstream) -> None:
    async def scene(upstreams: Upstreams) -> None:
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

    play(scene, table(other.port, username="shop", password="s-word"))
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


def test_a_token_is_read_again_at_each_login(other: ScriptedUpstream, tmp_path: Path) -> None:
    token, other.mechanisms, other.passwords = tmp_path / "token", "LOGIN XOAUTH2", {"me": "new-token"}
    token.write_text("old-token\n")
    renewed = FileSecret(SecretStr("old-token"), token)

    async def scene(upstreams: Upstreams) -> None:
        [answer] = await upstreams.send(mail("a@example.com"))
        assert (answer.phase, answer.reply.code, answer.is_outage) == (Phase.AUTH, 535, True)
        [status] = upstreams.statuses()
        assert status.is_down and "535" in status.fault  # one refused login is enough: more would lock the account
        [answer] = await upstreams.send(mail("b@example.com"))
        assert (answer.phase, other.verbs["AUTH"]) == (Phase.CONNECT, 1)

    play(scene, table(other.port, username="me", token=renewed))
    token.write_text("new-token\n")

    async def after(upstreams: Upstreams) -> None:
        [answer] = await upstreams.send(mail("c@example.com"))
        assert answer.reply.accepts

    play(after, table(other.port, username="me", token=renewed))
    assert other.arrivals[0].user == "me"


def test_a_clients_wrong_password_is_no_outage(other: ScriptedUpstream) -> None:
    async def scene(upstreams: Upstreams) -> None:
        for _ in range(3):
            assert (await upstreams.try_login(Login("ann", "wrong"))).code == 535
        assert not upstreams.statuses()[0].is_down

    play(scene, table(other.port, outages=2))


def test_a_connection_that_died_while_it_was_kept_is_replaced_without_anybody_noticing(other: ScriptedUpstream) -> None:
    async def scene(upstreams: Upstreams) -> None:
        for hang_up in (True, False):
            await upstreams.send(mail("a@example.com"))
            if hang_up:
                await asyncio.to_thread(other.stop)
                await asyncio.to_thread(other.start)
            else:  # it closes when it is spoken to
                other.close_at_mail = True
            [answer] = await upstreams.send(mail("b@example.com"))
            assert answer.reply.accepts and answer.phase is Phase.DOT

    play(scene, table(other.port))
    assert len(other.arrivals) == 4


@pytest.mark.parametrize(
    ("keys", "connections"), [({"messages": 2}, 3), ({"age": "1ms"}, 6), ({"idle": "1ms"}, 6), ({}, 1)]
)
def test_connections_are_used_again_within_their_limits(
    other: ScriptedUpstream, keys: dict[str, object], connections: int
) -> None:
    async def scene(upstreams: Upstreams) -> None:
        for _ in range(6):
            await upstreams.send(mail("a@example.com"))
            await asyncio.sleep(0.01)

    play(scene, table(other.port, **keys))
    assert other.connections == connections


def test_no_more_connections_are_open_than_allowed_whoevers_they_are(other: ScriptedUpstream) -> None:
    other.delay_s = 0.05

    async def scene(upstreams: Upstreams) -> None:
        logins = [ANN, BEN, None, ANN, BEN, None]
        answers = await asyncio.gather(*(upstreams.send(mail("a@example.com", login=login)) for login in logins))
        assert all(answer.reply.accepts for [answer] in answers)
        [status] = upstreams.statuses()
        assert status.in_use == 0 and 1 <= status.idle <= 2

    play(scene, table(other.port, connections=2))
    assert other.most_at_once <= 2


def test_kept_connections_are_let_go_when_nobody_needs_them(other: ScriptedUpstream) -> None:
    async def scene(upstreams: Upstreams) -> None:
        await upstreams.try_login(ANN)
        assert upstreams.statuses()[0].idle == 1
        await until_async(lambda: not upstreams.statuses()[0].idle and other.verbs["QUIT"])

    play(scene, table(other.port, idle="100ms"))


def test_an_upstream_that_is_out_is_probed_and_not_tried_with_mail(other: ScriptedUpstream) -> None:
    other.stop()

    async def scene(upstreams: Upstreams) -> None:
        for _ in range(3):
            [answer] = await upstreams.send(mail("a@example.com"))
            assert answer.is_outage
        [status] = upstreams.statuses()
        assert status.is_down and status.down_since and "connect" in status.fault
        [answer] = await upstreams.send(mail("b@example.com"))
        assert answer.is_outage and answer.reply.text.startswith("the upstream is out: ")
        await asyncio.to_thread(other.start)
        await until_async(lambda: not upstreams.statuses()[0].is_down)
        assert other.verbs["MAIL"] == 0 and other.connections == 1
        [answer] = await upstreams.send(mail("c@example.com"))
        assert answer.reply.accepts and other.connections == 1  # over the probe's connection

    play(scene, table(other.port, outages=3))


def test_a_queue_does_not_write_down_again_and_again_that_it_waits(tmp_path: Path, other: ScriptedUpstream) -> None:
    other.stop()
    upstream = f'[[upstream]]\naddress = "127.0.0.1:{other.port}"\ntls = "off"\noutages = 1\n'
    with Waypost(tmp_path, tables=f'{upstream}[delivery]\nmode = "queued"\nretry = ["1s"]\n') as relay:
        for n in range(20):
            assert relay.send(b"Subject: x\r\n\r\nx\r\n", f"{n}@example.com").startswith("250")
        relay.wait_for_log("upstream-out upstream=primary phase=connect")
        time.sleep(2)
        deferred = [row for row in relay.rows("events", "--limit", "1000") if row["type"] == "deferred"]
        assert len(deferred) <= 30  # 20 each second, were they all tried
        other.start()
        assert len(other.wait_for(lambda _: True, 20)) == 20
        relay.wait_for_log("upstream-back upstream=primary")


def test_an_outage_of_one_of_several_is_written_down_once(tmp_path: Path, other: ScriptedUpstream) -> None:
    out = ScriptedUpstream()
    out.stop()
    tables = "".join(
        f'[[upstream]]\nname = "{one.port}"\naddress = "127.0.0.1:{one.port}"\ntls = "off"\noutages = 1\n'
        f'senders = ["{sender}"]\n'
        for one, sender in ((out, "app@out.test"), (other, "app@sender.test"))
    )
    with Waypost(tmp_path, tables=f'{tables}[delivery]\nretry = ["1s"]\n') as relay:
        assert relay.send(b"Subject: x\r\n\r\nx\r\n", "waits@example.com", sender="app@out.test").startswith("250")
        time.sleep(4)
        assert len(relay.events("deferred", "waits@example.com")) == 1
        [waiting] = relay.rows("queue", "list")
        assert waiting["attempts"] == 1 and waiting["category"] == "upstream_connect"
        out.start()
        assert out.to("waits@example.com")
    out.close()


def test_the_next_one_takes_over_the_recipients_whom_a_closing_upstream_leaves(other: ScriptedUpstream) -> None:
    second = ScriptedUpstream()

    async def scene(upstreams: Upstreams) -> None:
        answers = await upstreams.send(mail("e550-5.1.1+a@example.com", "x421+b@example.com", "c@example.com"))
        assert [(answer.upstream, answer.reply.code) for answer in answers] == [
            ("primary", 550),
            ("backup", 421),
            ("backup", 421),
        ]
        answers = await upstreams.send(mail("e451-4.3.0@example.com"))
        assert [(answer.upstream, answer.reply.code) for answer in answers] == [("primary", 451)]
        other.greeting = "421 4.3.2 going down"
        await asyncio.to_thread(other.stop)
        await asyncio.to_thread(other.start)
        [answer] = await upstreams.send(mail("d@example.com"))
        assert (answer.upstream, answer.reply.code) == ("backup", 250)

    play(scene, table(other.port), table(second.port, name="backup"))
    assert [arrival.recipients for arrival in second.arrivals] == [["d@example.com"]]
    second.close()


def test_mail_goes_out_at_the_rate_of_its_upstream_in_the_order_in_which_it_came(other: ScriptedUpstream) -> None:
    async def scene(upstreams: Upstreams) -> None:
        started = time.monotonic()
        await asyncio.gather(*(upstreams.send(mail(f"{n}@example.com")) for n in range(6)))
        assert time.monotonic() - started >= 0.45

    play(scene, table(other.port, rate="10/s"))
    assert [arrival.recipients[0][0] for arrival in other.arrivals] == list("012345")


@given(st.lists(st.floats(0, 5), min_size=2, max_size=30), st.floats(0.1, 50))
def test_turns_are_never_closer_than_the_rate_allows(pauses: list[float], per_s: float) -> None:
    limiter, now, turns = RateLimiter(per_s), 100.0, []
    for pause in pauses:
        now += pause
        turns.append(now + limiter.reserve(now))
    assert all(later - sooner >= 1 / per_s - 1e-6 for sooner, later in pairwise(turns))
    assert RateLimiter(0).reserve(now) == 0


def test_probes_come_less_and_less_often_up_to_a_minute() -> None:
    breaker, now = Breaker(max_outages=2), datetime(2026, 11, 21, tzinfo=UTC)
    assert [breaker.record_failure("x", now), breaker.record_failure("x", now), breaker.record_failure("x", now)] == [
        False,
        True,
        False,
    ]
    assert [breaker.next_probe_s(0.5) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert (breaker.next_probe_s(0), breaker.next_probe_s(1)) == (48, 72)
    assert breaker.record_success() and not breaker.record_success() and not breaker.is_open
    assert breaker.record_failure("535", now, is_login=True) and breaker.next_probe_s(0.5) == 30


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ('greeting_timeout = "0"', 'greeting_timeout: must be "1s" or more'),
        ('rate = "fast"', "rate: must be a rate such as"),
        ('auth = "xoauth2"', 'auth = "xoauth2" needs a token'),
        ('token = "t"', "token is for XOAUTH2: it needs a username"),
        ('username = "me"\ntoken = { file = "none" }', "cannot read the secret's file none"),
        ('connect_timeout = "0"', 'connect_timeout: must be "1s" or more'),
        ("messages = 0", "messages"),
    ],
)
def test_what_an_upstream_cannot_mean_is_named(tmp_path: Path, keys: str, fault: str) -> None:
    (tmp_path / "config.toml").write_text(f'[[upstream]]\naddress = "127.0.0.1:25"\n{keys}\n')
    with pytest.raises(load.ConfigError, match=re.escape(fault)):
        load.load(tmp_path / "config.toml", {})
