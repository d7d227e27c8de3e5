"""A client that has sent its mail, and does not wait for the reply to the dot as one should."""

import socket
import struct

from tests.waypost_server import Waypost, html_mail


class Impatient:
    """Its mail has been taken in when it is made. `ahead` is sent behind the dot."""

    def __init__(self, relay: Waypost, recipient: str, ahead: bytes = b"") -> None:
        accepted = relay.read_log().count(" accepted message=")
        self._socket = socket.create_connection(("127.0.0.1", relay.port), 60)
        self._file = self._socket.makefile("rb")
        assert self.reply() == 220
        for line, code in (
            (b"HELO app.test", 250),
            (b"MAIL FROM:<app@sender.test>", 250),
            (f"RCPT TO:<{recipient}>".encode(), 250),
            (b"DATA", 354),
        ):
            self._socket.sendall(line + b"\r\n")
            assert self.reply() == code
        self._socket.sendall(html_mail() + b".\r\n" + ahead)
        relay.wait_for_log(" accepted message=", count=accepted + 1)

    def __enter__(self) -> "Impatient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def reply(self) -> int:
        return int(self._file.readline()[:3])

    def close_half(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """As most do whose time is up: the server sees an end, and no more until it speaks."""
        self._file.close()
        self._socket.close()

    def reset(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()
