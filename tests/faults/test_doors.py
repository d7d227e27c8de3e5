"""Clients that break off at any octet. (Two thousand that only stand there: tests/dialogs/test_octets.py.)"""

import socket
import struct

from tests.faults.figures import Figure
from tests.upstream import ScriptedUpstream
from tests.waypost_server import Waypost, html_mail

_LINES = (
    b"EHLO app.test\r\n",
    b"MAIL FROM:<app@load.test>\r\n",
    b"RCPT TO:<cut@example.com>\r\n",
    b"DATA\r\n",
    b"Subject: cut\r\n\r\n..a dot\r\n",
    b".\r\n",
)


def test_a_dialogue_cut_at_any_octet_leaves_no_mail_and_no_harm(
    relay: Waypost, upstream: ScriptedUpstream, figure: Figure
) -> None:
    whole = b"".join(_LINES)
    for at in range(len(whole)):
        with socket.create_connection(("127.0.0.1", relay.port), timeout=60) as client:
            client.recv(200)
            client.sendall(whole[:at])
            if at % 2:  # a reset instead of an end
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert relay.send(html_mail(), "after-the-cuts@example.com").startswith("250")
    upstream.to("after-the-cuts@example.com")
    assert not [arrival for arrival in upstream.arrivals if "cut@example.com" in arrival.recipients]
    figure(f"{len(whole)} offsets, 0 mails of them, the server answers")
