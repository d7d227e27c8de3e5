"""The entry points that strangers' octets come through, each with its seeds and with what must hold for any octets.

An entry point's `check` raises AssertionError where it does not. Those on sockets have a real server behind them.
"""

import contextlib
import re
import socket
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from relay import tokens
from relay.bounce import report
from relay.edits import Hole, Kind
from relay.rewrite import plan
from tests.rewrite.mails import SETTINGS, mint, undone
from tests.waypost_server import ROOT, Waypost

_ANSWER_S = 20.0
_REPLY = re.compile(rb"(?:[2-5]\d\d[ -][\x20-\x7e]*\r\n|[2-5]\d\d\r\n)*")
_STATUS_LINE = re.compile(rb"HTTP/1\.1 [1-5]\d\d ")
_MESSAGE = "06h1q54ohcrnerf48d60"


class EntryPoint(NamedTuple):
    """`check` takes octets and raises AssertionError."""

    seeds: list[bytes]
    check: Callable[[bytes], None]


def _read_all(*patterns: str) -> list[bytes]:
    found = [path.read_bytes() for pattern in patterns for path in sorted((ROOT / "tests").glob(pattern))]
    assert found
    return found


# --- pure


def check_mime(octets: bytes) -> None:
    """Any octets have a plan; it can be undone, and none is a fault of ours."""
    made = plan.plan(octets, SETTINGS)
    assert not made.faults and not any(reason.startswith(("fault", "verify")) for reason in made.reasons), made.reasons
    assert plan.Plan.from_json(made.to_json()) == made
    assert undone(octets, made.edits(octets, mint), made.render(octets, mint)) == octets


def check_report(octets: bytes) -> None:
    """Any octets are a report or none, and what is read can be stored."""
    repr(report.read_report(octets)).encode()


@cache
def _ring() -> tokens.KeyRing:
    with tempfile.TemporaryDirectory() as folder:
        return tokens.open_key_ring(Path(folder) / "keys.json")


@cache
def _minted() -> dict[str, Kind]:
    holes = [Hole(kind, 1, b"https://shop.example/a?b=1" if kind is Kind.CLICK else b"") for kind in Kind]
    return {_ring().mint(hole, _MESSAGE, number): hole.kind for hole in holes for number in (0, 7, 90_000)}


def check_token(octets: bytes) -> None:
    """Only what was minted is read."""
    text = octets.decode("latin-1")
    for kind in Kind:
        with contextlib.suppress(tokens.InvalidTokenError):
            _ring().read_token(kind, tokens.leading_token(text))
            assert _minted().get(tokens.leading_token(text)) is kind, text


# --- over a socket


def _exchange(port: int, octets: bytes) -> bytes:
    """What the server says to these octets, until it hangs up."""
    said = b""
    with socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_S) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(octets)
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while received := connection.recv(1 << 16):
                said += received
    return said


class _FuzzedServer:
    """A sandbox whose log must have no fault."""

    def __init__(self, relay: Waypost) -> None:
        self._relay = relay
        self._read_octets = 0  # of the log

    def _check_log(self) -> None:
        with (self._relay.folder / "log").open("rb") as log:
            log.seek(self._read_octets)
            lines = log.read().decode("utf-8", "replace").splitlines()
            self._read_octets = log.tell()
        faults = [line for line in lines if " fault " in line or ("role-" in line and "role-started" not in line)]
        assert not faults, faults

    def check_smtp(self, octets: bytes) -> None:
        said = _exchange(self._relay.port, octets)
        assert _REPLY.fullmatch(said) or b"\x16\x03" in octets or b"STARTTLS" in octets.upper(), said
        self._check_log()

    def check_http(self, site: str) -> Callable[[bytes], None]:
        port = int(site.rpartition(":")[2])

        def check(octets: bytes) -> None:
            said = _exchange(port, octets)
            assert not said or _STATUS_LINE.match(said), said
            assert b"HTTP/1.1 500 " not in said, said
            self._check_log()

        return check


_SESSION = b"EHLO fuzz.test\r\nMAIL FROM:<a@sender.test> BODY=8BITMIME SIZE=1000\r\nRCPT TO:<b@example.com> NOTIFY=FAILURE\r\nDATA\r\n%s\r\n.\r\nQUIT\r\n"
_SESSIONS = [
    b"EHLO [127.0.0.1]\r\nNOOP\r\nVRFY a\r\nHELP\r\nRSET\r\nAUTH PLAIN AGEAYg==\r\nAUTH LOGIN\r\nYQ==\r\nYg==\r\nQUIT\r\n",
    b'HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<"a b"@example.com> ORCPT=rfc822;a+20b\r\nDATA\r\nSubject: x\r\n\r\n..\r\n.\r\n',
    "EHLO x\r\nMAIL FROM:<ä@sender.test> SMTPUTF8\r\nRCPT TO:<ö@bücher.example>\r\nDATA\r\n\r\n.\r\nQUIT\r\n".encode(),
]
_REQUESTS = [
    b"GET %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Mozilla/5.0\r\n\r\n" % path
    for path in (b"/", b"/o/x.gif", b"/c/x", b"/u/x", b"/healthz", b"/login?next=%2f", b"/metrics", b"/api/v1/messages?limit=1")
] + [
    b"POST /u/x HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 26\r\n\r\n"
    b"List-Unsubscribe=One-Click",
    b'POST /in/mailgun HTTP/1.1\r\nHost: localhost\r\nContent-Length: 15\r\n\r\n{"signature":{}}',
    b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'3e\r\n--b\r\nContent-Disposition: form-data; name="name"\r\n\r\nann\r\n--b--\r\n\r\n0\r\n\r\n',
    b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer wp_x\r\n\r\nGET / HTTP/1.0\r\n\r\n",
]  # fmt: skip


@contextlib.contextmanager
def open_entry_points() -> Iterator[dict[str, EntryPoint]]:
    """All entry points by name, with a server behind those that need one."""
    mails = _read_all("cases/*.eml")
    with tempfile.TemporaryDirectory() as folder, Waypost(Path(folder), tables='[access]\nmax_size = "1MB"\n') as relay:
        server = _FuzzedServer(relay)
        sessions = [*_SESSIONS, *(_SESSION % mail.replace(b"\n", b"\r\n") for mail in mails if len(mail) < 20_000)]
        yield {
            "mime": EntryPoint([mail.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") for mail in mails], check_mime),
            "report": EntryPoint(_read_all("bounce/corpus/reports/*.eml"), check_report),
            "token": EntryPoint([text.encode() for text in _minted()], check_token),
            "smtp": EntryPoint(sessions, server.check_smtp),
            "tracking": EntryPoint(_REQUESTS, server.check_http(relay.tracking)),
            "console": EntryPoint(_REQUESTS, server.check_http(relay.console)),
        }
