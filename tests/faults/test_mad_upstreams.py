"""Upstreams that do everything wrong, all at once: a mail is refused to its sender, or arrives once they are sane."""

import asyncio
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.certificates import make_certificate
from tests.faults import IS_LONG
from tests.faults.figures import Figure
from tests.faults.queued_mail import drained
from tests.upstream import ScriptedUpstream
from tests.waypost_server import Waypost, html_mail

VERBS = ("EHLO", "MAIL", "RCPT", "DATA", "dot")
# What is said to an app when its mail meets such a server; None: 250, for it is the server's trouble and passes.
_KINDS: dict[str, str | None] = {
    "refuses": None,
    "hangs": None,
    "resets": None,
    "garbage": None,
    "greets-421": None,
    "greets-554": None,
    "closes-before-dot": None,
    "closes-after-dot": None,
    "bad-certificate": None,
    **({"says-535": None} if IS_LONG else {}),  # which is asked again after half a minute: trying on locks accounts
    **{f"{verb}-451": None for verb in VERBS},
    **{f"{verb}-550": None if verb == "EHLO" else "550" for verb in VERBS},
}


@dataclass
class Mad:
    """A server in front of a sane one: mad in its own way until it is healed."""

    kind: str
    behind: int
    trusted: ssl.SSLContext
    strange: ssl.SSLContext
    is_healed: bool = False
    port: int = 0
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        if self.kind == "refuses" and not self.is_healed:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
            return
        tls = None
        if self.kind == "bad-certificate":
            tls = self.trusted if self.is_healed else self.strange
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def heal(self) -> None:
        await self.stop()
        self.is_healed = True
        await self.start()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await (self._sane(reader, writer) if self.is_healed else self._rave(reader, writer))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _sane(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection("127.0.0.1", self.behind)
        try:
            await asyncio.gather(_pipe(reader, outer), _pipe(inner, writer))
        finally:
            outer.close()

    async def _rave(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(line: str) -> None:
            writer.write(line.encode() + b"\r\n")

        if self.kind == "resets":
            transport = writer.get_extra_info("socket")
            transport.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        if self.kind == "hangs":
            await asyncio.sleep(3600)
        if self.kind == "garbage":
            writer.write(bytes(range(256)) * 10 + b"\r\n")
            await asyncio.sleep(1)
            return
        if self.kind.startswith("greets-"):
            say(f"{self.kind[-3:]} 5.3.2 not today".replace("421 5", "421 4"))
            return
        say("220 mad.test ESMTP")
        while line := (await reader.readline()).decode("latin-1"):
            verb = line[:4].strip().upper()
            if self.kind.startswith(f"{verb.replace('HELO', 'EHLO')}-"):
                say(f"{self.kind[-3:]} {'4.3.0' if self.kind.endswith('451') else '5.0.0'} not that")
            elif verb == "EHLO":
                say("250-mad.test")
                say("250 AUTH PLAIN")
            elif verb == "AUTH":
                say("535 5.7.8 never heard of you" if self.kind == "says-535" else "235 2.7.0 come in")
            elif verb == "DATA" and self.kind == "closes-before-dot":
                say("354 go on")
                await reader.readline()
                return
            elif verb == "DATA":
                say("354 go on")
                await reader.readuntil(b"\r\n.\r\n")
                if self.kind == "closes-after-dot":
                    return
                say(f"{self.kind[-3:]} {'4.3.0' if self.kind.endswith('451') else '5.0.0'} not that")
            elif verb == "QUIT":
                say("221 2.0.0 bye")
                return
            else:
                say("250 2.0.0 fine")


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while octets := await reader.read(1 << 16):
        writer.write(octets)
        await writer.drain()
    writer.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two self-signed certificates for 127.0.0.1, the first of which is trusted."""
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("trusted", "strange"):
        (folder / name).mkdir()
        make_certificate(folder / name)
    return folder


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    running = asyncio.new_event_loop()
    thread = threading.Thread(target=running.run_forever, daemon=True)
    thread.start()
    yield running
    running.call_soon_threadsafe(running.stop)
    thread.join()
    running.close()


def _context(folder: Path, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / name / "cert.pem", folder / name / "key.pem")
    return context


def _table(kind: str, port: int, certificates: Path) -> str:
    tls = f'"implicit"\nca_file = "{certificates}/trusted/cert.pem"' if kind == "bad-certificate" else '"off"'
    return (
        f'[[upstream]]\nname = "{kind}"\naddress = "127.0.0.1:{port}"\ntls = {tls}\n'
        f'senders = ["@{kind.lower()}.test"]\n'
        + ('username = "me"\npassword = "secret"\n' if kind == "says-535" else "")
    )


def test_mail_to_mad_upstreams_is_refused_or_arrives(
    tmp_path: Path, sink: ScriptedUpstream, certificates: Path, loop: asyncio.AbstractEventLoop, figure: Figure
) -> None:
    sink.passwords = {"me": "secret"}
    contexts = _context(certificates, "trusted"), _context(certificates, "strange")
    mad = [Mad(kind, sink.port, *contexts) for kind in _KINDS]
    for server in mad:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(60)
    tables = "".join(_table(server.kind, server.port, certificates) for server in mad)
    with Waypost(tmp_path, None, f'{tables}[delivery]\nretry = ["1s"]\ninline_timeout = "6s"\n') as relay:
        said: dict[str, str] = {}

        def send(kind: str) -> None:
            try:
                said[kind] = relay.send(html_mail(), f"to-{kind}@example.com", sender=f"app@{kind.lower()}.test")
            except AssertionError as refusal:
                said[kind] = str(refusal)

        threads = [threading.Thread(target=send, args=(kind,)) for kind in _KINDS]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for kind, code in _KINDS.items():
            assert said[kind].startswith(code or "250"), (kind, said[kind])
        for server in mad:
            asyncio.run_coroutine_threadsafe(server.heal(), loop).result(60)
        healed = monotonic()
        for kind, code in _KINDS.items():
            if code is None:
                assert sink.to(f"to-{kind}@example.com", timeout_s=90), kind
        took_s = monotonic() - healed
        drained(relay)
        sleep(0.5)
        counts = {kind: len([a for a in sink.arrivals if f"to-{kind}@example.com" in a.recipients]) for kind in _KINDS}
        assert counts == {kind: int(code is None) for kind, code in _KINDS.items()}
        figure(f"{len(_KINDS)} kinds of madness, lost 0, twice 0; all had arrived {took_s:.0f} s after the cure")
    for server in mad:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(60)
