"""Clients that break off, and clients that only stand there."""

import resource
import socket
import struct
from pathlib import Path
from time import monotonic

import pytest

from tests.faults.conftest import Figure
from tests.stage import Waypost, html_mail
from tests.upstream import Upstream

IDLE = 2000
_LINES = (
    b"EHLO app.test\r\n",
    b"MAIL FROM:<app@load.test>\r\n",
    b"RCPT TO:<cut@example.com>\r\n",
    b"DATA\r\n",
    b"Subject: cut\r\n\r\n..a dot\r\n",
    b".\r\n",
)


def test_a_dialogue_cut_at_any_octet_leaves_no_mail_and_no_harm(
    relay: Waypost, upstream: Upstream, figure: Figure
) -> None:
    whole = b"".join(_LINES)
    for at in range(len(whole)):
        with socket.create_connection(("127.0.0.1", relay.port), timeout=10) as client:
            client.recv(200)
            client.sendall(whole[:at])
            if at % 2:  # a reset instead of an end
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert relay.send(html_mail(), "after-the-cuts@example.com").startswith("250")
    upstream.to("after-the-cuts@example.com")
    assert not [arrival for arrival in upstream.arrivals if "cut@example.com" in arrival.recipients]
    figure(f"{len(whole)} offsets, 0 mails of them, the server answers")


def test_two_thousand_idle_connections_keep_nobody_out(tmp_path: Path, sink: Upstream, figure: Figure) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2 * IDLE:
        pytest.skip(f"this machine allows {hard} open files; raise it with ulimit -Hn {2 * IDLE}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * IDLE), hard))
    idle: list[socket.socket] = []
    try:
        with Waypost(tmp_path, sink.port, f"[access]\nmax_connections_per_ip = {2 * IDLE}\n") as relay:
            for _ in range(IDLE):
                idle.append(socket.create_connection(("127.0.0.1", relay.port), timeout=10))
            for client in idle:
                assert client.recv(200).startswith(b"220 ")
            begun = monotonic()
            assert relay.send(html_mail(), "in-the-crowd@example.com").startswith("250")
            figure(f"{IDLE} connections idle, a mail beside them took {1000 * (monotonic() - begun):.0f} ms")
            assert sink.to("in-the-crowd@example.com")
    finally:
        for client in idle:
            client.close()
