"""An SMTP client that says what smtplib does not let a test say: octets, when and as the test wants."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from time import perf_counter

from tests.waypost_server import Waypost


@contextlib.contextmanager
def connected(port: int, source: str = "127.0.0.1") -> Iterator[tuple[socket.socket, "Replies"]]:
    with socket.create_connection(("127.0.0.1", port), 60, (source, 0)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield client, Replies(client)


class Replies:
    """The server's replies, each as its last line."""

    def __init__(self, client: socket.socket) -> None:
        self._file = client.makefile("rb")

    def next(self, count: int = 1) -> str:
        """The last of the next `count` replies."""
        line = b""
        for _ in range(count):
            while (line := self._file.readline())[3:4] == b"-":
                pass
        return line.decode().rstrip("\r\n")


def envelope(recipient: str) -> bytes:
    return f"EHLO app.test\r\nMAIL FROM:<app@sender.test>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n".encode()


class Waits:
    """The longest wait of another client for a greeting, while something else is done."""

    def __init__(self, relay: Waypost) -> None:
        self._relay, self._over, self.count, self.longest_s = relay, threading.Event(), 0, 0.0
        self._thread = threading.Thread(target=self._ask)

    def _ask(self) -> None:
        while not self._over.is_set():
            began = perf_counter()
            with connected(self._relay.port) as (_, replies):
                replies.next()
            self.longest_s = max(self.longest_s, perf_counter() - began)
            self.count += 1

    def __enter__(self) -> "Waits":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
