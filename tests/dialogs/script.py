r"""Plays a script of client and server lines on a connection.

    on NAME             the listener to connect to; comes first
    c -> TEXT           the client sends a line; `c *9 -> TEXT` nine of them in one go
    c => TEXT           octets as they are: \r \n \t \0 \\ \xHH, and no line end added; `c *9 => TEXT` nine times
    s <- TEXT           the server's next line, exactly
    s <~ PATTERN        the server's next line fits it
    s <*                the rest of a reply of several lines, whatever it says
    s silent 0.2        nothing comes for so long
    s closed            the server has hung up
    tls                 the handshake
    pause 0.5           the client waits
    half-close          the client sends no more, and still reads
    hang-up             the client is gone
    got A               a mail to the address A reaches the upstream
    got A ~ PATTERN     and the pattern is found in its MAIL and RCPT lines and octets; `!~`: is not
    none A              no mail to A has reached it since the script began

A line that begins with # or is blank says nothing.
"""

import re
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

from tests.upstream import Arrival, ScriptedUpstream

_ESCAPE = re.compile(rb"\\(?:x([0-9a-f]{2})|([rnt0\\]))")
_MEANS = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}


def _octets(text: str) -> bytes:
    return _ESCAPE.sub(lambda hit: bytes([int(hit[1], 16)]) if hit[1] else _MEANS[hit[2]], text.encode())


class Player:
    """One connection that follows a script."""

    def __init__(self, ports: dict[str, int], upstreams: dict[str, ScriptedUpstream]) -> None:
        self._ports = ports
        self._upstreams = upstreams
        self._before = {listener: len(upstream.arrivals) for listener, upstream in upstreams.items()}
        self._socket = socket.socket()
        self._read = b""

    def play(self, path: Path) -> None:
        """Raises AssertionError with the script's line that did not happen."""
        try:
            for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
                if not line.strip() or line.startswith("#"):
                    continue
                try:
                    self._step(line)
                except (AssertionError, OSError) as error:
                    raise AssertionError(f"{path.name}:{number}: {line}\n{error!r}") from error
        finally:
            self._socket.close()  # the one that TLS made of the first, if any

    def _step(self, line: str) -> None:
        steps: list[tuple[str, Callable[..., None]]] = [
            (r"on (\w+)", self._connect),
            (r"c (?:\*(\d+) )?-> ?(.*)", self._send_line),
            (r"c (?:\*(\d+) )?=> (.*)", self._send_octets),
            (r"s <- (.*)", lambda text: self._expect(re.escape(text))),
            (r"s <~ (.*)", self._expect),
            (r"s <\*", self._skip),
            (r"s silent (.*)", self._silent),
            (r"s closed", self._closed),
            (r"tls", self._handshake),
            (r"pause (.*)", lambda text: time.sleep(float(text))),
            (r"half-close", lambda: self._socket.shutdown(socket.SHUT_WR)),
            (r"hang-up", lambda: self._socket.close()),
            (r"got (\S+)(?: (!?~) (.*))?", self._got),
            (r"none (\S+)", self._none),
        ]
        for pattern, step in steps:
            if found := re.fullmatch(pattern, line):
                return step(*found.groups())
        raise AssertionError("no such step")

    def _connect(self, listener: str) -> None:
        self._upstream, self._first = self._upstreams[listener], self._before[listener]
        self._socket.close()
        self._socket = socket.create_connection(("127.0.0.1", self._ports[listener]), 60)

    def _send_line(self, times: str | None, text: str) -> None:
        self._socket.sendall((text.encode() + b"\r\n") * int(times or 1))

    def _send_octets(self, times: str | None, text: str) -> None:
        self._socket.sendall(_octets(text) * int(times or 1))

    def _line(self) -> bytes:
        while b"\n" not in self._read:
            block = self._socket.recv(65536)
            assert block, f"the server has hung up, after {self._read!r}"
            self._read += block
        line, _, self._read = self._read.partition(b"\n")
        assert line.endswith(b"\r"), f"{line!r} ends in a bare LF"
        return line[:-1]

    def _expect(self, pattern: str) -> None:
        line = self._line().decode("ascii")
        assert re.fullmatch(pattern, line), f"the server said {line!r}"

    def _skip(self) -> None:
        while self._line()[3:4] == b"-":
            pass

    def _silent(self, seconds: str) -> None:
        patience = self._socket.gettimeout()
        self._socket.settimeout(float(seconds))
        try:
            said = self._read or self._socket.recv(65536)
        except TimeoutError:
            said = b""
        self._socket.settimeout(patience)
        assert not said, f"the server said {said!r}"

    def _closed(self) -> None:
        try:
            said = self._read or self._socket.recv(65536)
        except (ConnectionResetError, ssl.SSLError):
            return
        assert not said, f"the server said {said!r}"

    def _handshake(self) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._socket = context.wrap_socket(self._socket)

    def _got(self, address: str, sign: str | None, pattern: str | None) -> None:
        def fits(arrival: Arrival) -> bool:
            if address not in arrival.recipients:
                return False
            head = "\r\n".join([arrival.mail, *arrival.rcpts, ""]).encode()
            found = pattern is None or re.search(_octets(pattern), head + arrival.octets) is not None
            return found if sign != "!~" else not found

        self._upstream.wait_for(fits)

    def _none(self, address: str) -> None:
        since = self._upstream.arrivals[self._first :]
        assert not [one for one in since if address in one.recipients], "it did reach the upstream"
