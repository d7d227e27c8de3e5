"""An endpoint that follows a script: what a webhook's requests meet, on a real socket.

The last part of a path says what is answered: `/ok`; `/e500`, that status; `/e503-n2`, only the first two times;
`/hang`, nothing; `/large`, more than anybody wants to read. `answers` overrides that, by path.
"""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import sleep
from typing import Any

from tests.waiting import until


@dataclass
class Arrived:
    """A request as it came in."""

    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """The server, in a thread of its own."""

    arrived: list[Arrived] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)  # of each answer
    seen: Counter[str] = field(default_factory=Counter)
    released: threading.Event = field(default_factory=threading.Event)
    delay_s: float = 0.0
    url: str = ""

    def at(self, path: str) -> list[Arrived]:
        return [one for one in self.arrived if one.path == path]

    def wait(self, path: str, count: int = 1) -> list[Arrived]:
        """The requests to that path, as soon as there are that many."""
        return until(lambda: self.at(path), fits=lambda found: len(found) >= count)

    def _answer(self, path: str) -> int:
        if path in self.answers:
            return self.answers[path]
        self.seen[path] += 1
        word, _, times = path.rpartition("/")[2].partition("-n")
        return int(word[1:]) if word[0] == "e" and (not times or self.seen[path] <= int(times)) else 200


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that listens."""
    receiver = Receiver()

    class ReceiverHandler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            size = int(self.headers["content-length"])
            body = self.rfile.read(size)
            if len(body) < size:  # whoever sent it has died
                self.close_connection = True
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.arrived.append(Arrived(self.path, headers, body))
            if self.path.endswith("/hang"):
                receiver.released.wait(60)
            sleep(receiver.delay_s)
            answer = b"x" * (1 << 20) if self.path.endswith("/large") else b"thank you"
            try:
                self.send_response(receiver._answer(self.path))
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)
            except OSError:
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            return

    class ReceiverServer(ThreadingHTTPServer):
        request_queue_size = 128
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            return  # a client that hangs up

    server = ReceiverServer(("127.0.0.1", 0), ReceiverHandler)
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
