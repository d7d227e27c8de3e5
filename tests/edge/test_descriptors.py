"""Out of file descriptors: a line, and service once there are some again; a site keeps clear of it."""

import contextlib
import resource
import smtplib
import socket
from pathlib import Path
from time import sleep

import httpx
import pytest

from tests.waiting import until
from tests.waypost_server import Waypost

FEW = 64
SOME = 256


def test_a_crowd_costs_a_line_of_log_and_service_comes_back(tmp_path: Path) -> None:
    with Waypost(tmp_path) as relay:
        for pid in relay.children():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (FEW, FEW))
        with contextlib.ExitStack() as open_:
            for _ in range(2 * FEW):
                open_.enter_context(socket.create_connection(("127.0.0.1", relay.port), 60))
            relay.wait_for_log("out-of-file-descriptors")
            sleep(2.5)  # asyncio tries again each second
            log = relay.read_log()
        assert log.count("out-of-file-descriptors") == 1
        assert f"limit={FEW}" in log and "LimitNOFILE" in log
        assert "Traceback" not in log
        assert until(lambda: reply(relay), relay.read_log).startswith("250")


def reply(relay: Waypost) -> str:
    """That to a mail, if there is one: uvloop without descriptors takes a connection and closes it at once."""
    with contextlib.suppress(smtplib.SMTPServerDisconnected, ConnectionError):
        return relay.send(b"Subject: x\r\n\r\nx\r\n", "after@example.com")
    return ""


@pytest.mark.parametrize("hosts", [1, 200], ids=["one client", "many networks"])
def test_a_site_serves_others_while_idle_connections_would_take_all_descriptors(tmp_path: Path, hosts: int) -> None:
    with Waypost(tmp_path) as relay, contextlib.ExitStack() as open_:
        for pid in relay.children():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (SOME, SOME))
        other = open_.enter_context(httpx.Client(transport=httpx.HTTPTransport(local_address="127.200.0.1")))
        before = relay.read_log().count("\n")
        for site in (relay.tracking, relay.console):
            port = int(site.rpartition(":")[2])
            for number in range(SOME + 50):
                source = (f"127.0.{number % hosts}.1", 0)
                open_.enter_context(socket.create_connection(("127.0.0.1", port), 60, source_address=source))
            assert other.get(f"{site}/healthz", headers={"connection": "close"}).text == "ok\n"
        log = relay.read_log()
        assert "out-of-file-descriptors" not in log
        assert log.count("\n") <= before + 4
