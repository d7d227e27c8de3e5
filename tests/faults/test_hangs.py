"""A process that does not answer says where it stands, is ended and started again; the others are left alone."""

import os
import signal
import socket
from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.faults.figures import Figure
from tests.faults.load import Load, arrived
from tests.faults.stopped import stopped
from tests.upstream import ScriptedUpstream
from tests.waiting import until
from tests.waypost_server import Waypost, html_mail

WATCHDOG_S = 3
WATCHED = f'watchdog = "{WATCHDOG_S}s"\ndrain = "5s"\n'
UNWATCHED = 'watchdog = "0s"\ndrain = "5s"\n'


@pytest.mark.parametrize("mode", ["inline", "queued"])
def test_a_stopped_mail_role_is_replaced_and_loses_nothing(
    mode: str, tmp_path: Path, sink: ScriptedUpstream, figure: Figure
) -> None:
    tables = f'connections = 2\n[delivery]\nmode = "{mode}"\nretry = ["1s"]\n'
    with Waypost(tmp_path, sink.port, tables, WATCHED) as relay:
        mail, web = relay.children()
        with Load(relay.port) as load:
            load.wait_for(20)
            began = monotonic()
            os.kill(mail, signal.SIGSTOP)
            load.wait_for(20)
            figure(f"{mode}: stopped, replaced and accepting again after {monotonic() - began:.1f} s")
        log = relay.read_log()
        assert log.count(f" role-silent role=smtp pid={mail} silent_s=") == 1
        assert log.count(f" role-died role=smtp pid={mail} status={int(signal.SIGKILL)}") == 1
        assert set(relay.children()).isdisjoint({mail}) and web in relay.children()
        until(lambda: load.accepted <= set(arrived(sink)), relay.read_log)
        assert relay.stop() == 0
        assert relay.read_log().count(" role-silent ") == 1


def test_a_stopped_web_role_is_replaced(tmp_path: Path) -> None:
    with Waypost(tmp_path, relay=WATCHED) as relay:
        mail, web = relay.children()
        os.kill(web, signal.SIGSTOP)
        assert relay.get("/healthz", timeout=60).status_code == 200  # waits in the backlog for the new one
        assert relay.read_log().count(f" role-silent role=web pid={web} silent_s=") == 1
        assert mail in relay.children() and web not in relay.children()
        assert relay.stop() == 0


@pytest.mark.parametrize("role", ["smtp", "web"])
def test_a_hanging_role_says_where_it_stands(role: str, tmp_path: Path) -> None:
    with Waypost(tmp_path, relay=WATCHED) as relay:
        hanging = relay.children()[role == "web"]
        os.kill(hanging, signal.SIGUSR1)
        relay.wait_for_log(" role-started ", count=3)
        log = relay.read_log()
        assert f" role-silent role={role} pid={hanging} " in log
        assert "Fatal Python error: Aborted" in log and "fork_server.py" in log and " in hang\n" in log
        assert relay.send(html_mail(), "after@example.com").startswith("250")
        assert relay.get("/healthz").status_code == 200


def test_a_supervisor_that_was_stopped_itself_ends_nobody(tmp_path: Path) -> None:
    with Waypost(tmp_path, relay=WATCHED) as relay:
        assert relay.process is not None
        roles = relay.children()
        with stopped(relay.process.pid):  # it alone
            sleep(2 * WATCHDOG_S)
        with stopped(relay.process.pid, *roles):  # as with a machine that was suspended
            sleep(2 * WATCHDOG_S)
        os.kill(roles[1], signal.SIGKILL)
        relay.wait_for_log(" role-started ", count=3)  # it has looked at all of them, more than once
        assert " role-silent " not in relay.read_log()
        assert relay.children()[0] == roles[0]


def test_a_role_has_time_to_start(tmp_path: Path) -> None:
    with Waypost(tmp_path, relay=WATCHED) as relay:
        mail = relay.children()[0]
        with relay.locked():
            os.kill(mail, signal.SIGKILL)  # the next one gives back leases first, and waits for the database
            relay.wait_for_log(" database-unavailable ")
        assert relay.send(html_mail(), "after@example.com").startswith("250")
        assert " role-silent " not in relay.read_log()


@pytest.mark.parametrize("settings", [WATCHED, UNWATCHED], ids=["watched", "unwatched"])
@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGUSR1], ids=["stopped", "hanging"])
def test_a_stop_does_not_wait_for_a_role_that_hangs(
    number: signal.Signals, settings: str, tmp_path: Path, figure: Figure
) -> None:
    with Waypost(tmp_path, relay=settings) as relay:
        os.kill(relay.children()[0], number)
        began = monotonic()
        assert relay.stop() == 0
        figure(f"drain 5 s, stopped after {monotonic() - began:.1f} s")
        log = relay.read_log()
        assert log.count(" role-unstopped ") + log.count(" role-silent ") == 1
        assert log.count(" role-started ") == 2  # it is not started again


def test_a_stop_is_heard_while_a_role_is_being_replaced(tmp_path: Path) -> None:
    with Waypost(tmp_path, relay=WATCHED) as relay:
        os.kill(relay.children()[0], signal.SIGSTOP)
        relay.wait_for_log(" role-silent ")
        assert relay.stop() == 0
        assert relay.read_log().count(" role-started ") == 2


def test_the_watch_can_be_turned_off_and_not_be_made_too_short(tmp_path: Path) -> None:
    said = Waypost(tmp_path / "short", relay='watchdog = "2s"').cli("check", status=1)
    assert b'[relay] watchdog: must be "3s" or more, or "0s" for none' in said
    Waypost(tmp_path / "off", relay='watchdog = "0s"').cli("check")


def test_systemd_hears_of_the_start_of_each_second_and_of_the_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "30000000")
        with Waypost(tmp_path / "relay"):
            states = [systemd.recv(100) for _ in range(20)]
            assert b"READY=1" in states and states.count(b"WATCHDOG=1") >= 10
        while systemd.recv(100) != b"STOPPING=1":
            pass
