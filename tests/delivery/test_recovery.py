"""Processes end, stop or start at bad moments: no accepted mail is lost, and none is sent twice."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.postgresql_server import IS_POSTGRESQL
from tests.upstream import ScriptedUpstream
from tests.waiting import until
from tests.waypost_server import FORK_SERVER, Waypost, html_mail

QUEUED = '[delivery]\nmode = "queued"\nretry = ["1s"]\n'


@pytest.fixture
def other(tmp_path: Path) -> Iterator[ScriptedUpstream]:
    server = ScriptedUpstream()
    yield server
    server.close()


def test_a_reply_of_odd_octets_is_passed_on_and_written_down(tmp_path: Path, other: ScriptedUpstream) -> None:
    other.text = b"Nachricht \xfcbernommen \x00"
    with Waypost(tmp_path, other.port) as relay:
        assert relay.send(html_mail(), "umlaut@example.com").startswith("250 2.0.0 Nachricht ?bernommen")
        assert relay.events("delivered", "umlaut@example.com")


@pytest.mark.parametrize("mode", ["inline", "queued"])
def test_a_recipient_that_hangs_makes_no_duplicates_of_the_others(
    tmp_path: Path, other: ScriptedUpstream, mode: str
) -> None:
    recipients = [f"quick-{n}@example.com" for n in range(6)]
    relay = Waypost(
        tmp_path, other.port, QUEUED.replace("queued", mode) + 'inline_timeout = "1s"\n', 'drain = "1s"'
    ).start()
    assert relay.send(html_mail(), *recipients, "hang@example.com").startswith("250")
    for recipient in recipients:
        relay.events("delivered", recipient)
    relay.kill()
    with relay:
        sleep(2)
        assert {recipient: len(other.to(recipient)) for recipient in recipients} == dict.fromkeys(recipients, 1)


def test_large_mail_that_an_upstream_hangs_on_does_not_fill_the_memory(tmp_path: Path, other: ScriptedUpstream) -> None:
    other.delay_s = 600.0
    large = b"Subject: large\r\n\r\n" + (b"x" * 998 + b"\r\n") * (22 << 10)
    with Waypost(tmp_path, other.port, '[delivery]\ninline_timeout = "1s"\n', relay='drain = "1s"') as relay:
        for _ in range(2):
            assert "the upstream is slow" in relay.send(large, "large@example.com")
        assert relay.send(large, "large@example.com").startswith("250 2.0.0 queued as ")
        assert "the upstream is slow" in relay.send(html_mail(), "small@example.com")


def test_a_clean_stop_makes_no_duplicates_either(tmp_path: Path, other: ScriptedUpstream) -> None:
    relay = Waypost(tmp_path, other.port, '[delivery]\ninline_timeout = "1s"\n', relay='drain = "2s"').start()
    assert relay.send(html_mail(), "done@example.com", "hang@example.com").startswith("250")
    started = monotonic()
    assert relay.stop() == 0
    assert monotonic() - started < 6  # the two seconds are for all of it
    with relay:
        sleep(2)
        assert len(other.to("done@example.com")) == 1


def test_what_a_dead_server_journaled_is_settled_before_its_leases_go_back(
    tmp_path: Path, other: ScriptedUpstream
) -> None:
    relay = Waypost(tmp_path, other.port, QUEUED).start()
    other.delay_s = 2.0
    for n in range(3):
        assert relay.send(html_mail(), f"journaled-{n}@example.com").startswith("250")
    until(lambda: other.verbs["."] == 3)  # all are under way, and none has ended yet
    with relay.locked():
        for n in range(3):
            other.to(f"journaled-{n}@example.com")
        folder = tmp_path / "data" / "journal"
        until(lambda: sum(path.read_bytes().count(b"outcomes ") for path in folder.glob("*")) >= 3)
        relay.kill()
    other.delay_s = 0.0
    with relay:
        sleep(3)
        assert [len(other.to(f"journaled-{n}@example.com")) for n in range(3)] == [1, 1, 1]


def test_a_killed_mail_process_does_not_keep_its_leases(tmp_path: Path, other: ScriptedUpstream) -> None:
    with Waypost(tmp_path, other.port, QUEUED) as relay:
        other.delay_s = 60.0
        assert relay.send(html_mail(), "released@example.com").startswith("250")
        until(lambda: other.verbs["."])
        child = relay.children()[0]
        other.delay_s = 0.0
        os.kill(child, signal.SIGKILL)
        assert other.to("released@example.com")


def test_sigterm_at_any_moment_of_the_start_ends_it(tmp_path: Path) -> None:
    relay = Waypost(tmp_path)
    for delay_s in (0.0, 0.008, 0.016, 0.024, 0.04):
        with Path(os.devnull).open("r+b") as nothing, (tmp_path / "log").open("wb") as log:
            words = ["--config", str(relay.config), "serve", "--workers", "3"]
            process = FORK_SERVER.start(words, nothing, nothing, log)
            until(lambda: "role-started" in relay.read_log(), every_s=0.001)
            sleep(delay_s)
            process.terminate()
            assert process.wait(60) == 0


def test_what_expires_at_the_first_attempt_stays_with_the_app(relay: Waypost) -> None:
    mail = html_mail(header="X-Waypost-Expires-In: 500ms\r\n")
    reply = "451 4.4.7"  # it expired before it could be sent, as it may on a machine that is busy
    for number in range(20):
        if reply.startswith("451 4.4.7"):
            reply = relay.send(mail, f"e451-4.3.0+now{number}@example.com")
    assert reply.startswith("451 4.3.0 scripted")
    assert relay.send(html_mail(header="X-Waypost-Expires-In: 99999999999999999w\r\n"), "far@example.com")[:3] == "250"


@pytest.mark.parametrize(("recipient", "phase"), [("d354@example.com", "dot"), ("e354@example.com", "rcpt")])
def test_a_reply_in_the_wrong_place_is_no_delivery(relay: Waypost, recipient: str, phase: str) -> None:
    assert relay.send(html_mail(), recipient).startswith("250 2.0.0 accepted as ")
    assert relay.events("deferred", recipient)
    assert not [row for row in relay.rows("events") if row["recipient"] == recipient and row["type"] == "delivered"]


def test_refused_recipients_do_not_use_up_the_clients_patience(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    with Waypost(tmp_path, upstream.port, "[access]\nmax_recipients = 3\n") as relay, relay.client() as client:
        client.ehlo()
        client.mail("app@sender.test")
        replies = [client.rcpt(f"many-{n}@example.com")[0] for n in range(60)]
        assert replies == [250] * 3 + [452] * 57
        assert client.data(b"Subject: x\r\n\r\nx\r\n")[0] == 250


def test_the_same_recipient_twice_is_one_delivery(relay: Waypost, upstream: ScriptedUpstream) -> None:
    relay.send(html_mail(), "double@example.com", "double@example.com")
    sleep(0.5)
    assert len(upstream.to("double@example.com")) == 1


def test_an_operators_look_waits_for_nobody_who_writes(relay: Waypost) -> None:
    with relay.locked():
        relay.cli("queue", "list")
        relay.cli("stats")


def test_no_other_user_can_read_mail(tmp_path: Path) -> None:
    relay = Waypost(tmp_path)
    relay.is_first_start = True
    with relay:
        assert relay.send(html_mail(), "first@example.com").startswith("250")
        names = [path.name for path in (tmp_path / "data").rglob("*") if path.stat().st_mode & 0o077 == 0]
        assert (IS_POSTGRESQL or "waypost.db" in names) and len(names) == len(list((tmp_path / "data").rglob("*")))


def test_secrets_are_not_shown_in_faults(tmp_path: Path) -> None:
    relay = Waypost(tmp_path)
    relay.config.write_text(
        '[[upstream]]\naddress = "a:1"\npassword = 12345678\n'
        '[[access.user]]\nname = "x"\npassword_hash = "hunter2secret"\n'
        '[database]\nurl = "mysql://me:geheim@x"\n'
    )
    error = relay.cli("check", status=1).decode()
    assert "password" in error and not any(secret in error for secret in ("12345678", "hunter2secret", "geheim"))
