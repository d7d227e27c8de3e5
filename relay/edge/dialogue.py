"""One client's dialogue: lines in, replies out, a timer, an error budget, a polite end.  RFC 5321 §4.

aiosmtpd gives the connection, the timer and STARTTLS. What a command means is `session`'s.
"""

import asyncio
import secrets
import ssl
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from aiosmtpd.smtp import SMTP

from relay import log
from relay.edge.policy import Policy
from relay.envelope import Admit, Client, Envelope, Take
from relay.reply import Refused, Reply, refused

IDLE_S = 300.0  # RFC 5321 §4.5.3.2.7
LONGEST_COMMAND = 2048  # octets; 512 and what extensions add (RFC 5321 §4.5.3.1.4)
MOST_ERRORS = 20  # between two accepted messages
# The client's own: syntax, sequence, credentials. A recipient that we refuse is none of them.
_MISTAKES = frozenset({500, 501, 502, 503, 504, 535, 555})


class Door(NamedTuple):
    """What all sessions of a process share."""

    hostname: str
    max_size: int
    policy: Policy
    take: Take
    admit: Admit
    sessions: "set[Dialogue]"
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


class Dialogue(SMTP):
    """A client's connection. Every reply is a `Reply`; what says no raises `Refused`."""

    line_length_limit = 1 << 17  # the reader's buffer: large blocks of DATA

    def __init__(self, door: Door, tls: ssl.SSLContext | None, *, implicit_tls: bool) -> None:
        super().__init__(
            None,
            hostname=door.hostname,
            enable_SMTPUTF8=True,
            timeout=IDLE_S,
            tls_context=None if implicit_tls else tls,
            loop=asyncio.get_running_loop(),
        )
        self.command_size_limits = defaultdict(lambda: LONGEST_COMMAND)  # aiosmtpd shares one between connections
        self._door = door
        self._implicit_tls = implicit_tls
        self._client = Client(ip="")
        self._mail: Envelope | None = None
        self._errors = 0
        self._is_draining = False

    # --- the dialogue

    async def _handle_client(self) -> None:
        """aiosmtpd's task for a connection."""
        peer = self.session.peer if self.session else None
        ip = str(peer[0]).partition("%")[0] if isinstance(peer, tuple) else "127.0.0.1"
        self._client = Client(ip=ip, tls=self._implicit_tls)
        self._door.sessions.add(self)
        try:
            self._door.policy.enter(ip)
            await self._say(Reply(220, "", f"{self._door.hostname} ESMTP Waypost"))
            await self._converse()
        except Refused as refusal:
            await self._say(refusal.reply)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client is gone
        finally:
            self._door.policy.leave(ip)
            self._door.sessions.discard(self)
            if self.transport is not None:
                self.transport.close()

    async def _converse(self) -> None:
        is_first = True
        while self.transport is not None and not (self._is_draining and self._mail is None):
            line = await self._command_line()
            self._reset_timeout()
            verb, _, argument = line.partition(" ")
            verb = verb.upper()
            if is_first and argument.upper().endswith((" HTTP/1.0", " HTTP/1.1")):
                return  # a browser or a forged cross-protocol request: not a word to it
            is_first = False
            try:
                await self._obey(verb, argument.strip())
            except Refused as refusal:
                self._errors += refusal.reply.code in _MISTAKES
                log.refused(self._client.ip, *refusal.reply)
                await self._say(refusal.reply)
                if refusal.reply.code == 421:
                    return
            except (ConnectionError, asyncio.IncompleteReadError):
                raise
            except Exception:  # noqa: BLE001  the outermost loop: what we do not understand is temporary
                fault = secrets.token_hex(4)
                log.fault("edge", fault)
                self._forget()
                await self._say(Reply(451, "4.3.0", f"internal fault {fault}; please try again later"))
            if verb == "QUIT":
                return
            if self._errors >= MOST_ERRORS:
                raise refused(421, "4.7.0", "too many errors")
        if self._is_draining and self.transport is not None:
            await self._say(Reply(421, "4.3.2", "shutting down, please come back"))

    async def _command_line(self) -> str:
        while True:
            try:
                line: bytes = await self._reader.readuntil(b"\n")
            except asyncio.LimitOverrunError as overrun:
                await self._reader.read(overrun.consumed)
                continue
            if len(line) > LONGEST_COMMAND:
                self._errors += 1
                await self._say(Reply(500, "5.5.2", "line too long"))
                continue
            return line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")

    @abstractmethod
    async def _obey(self, verb: str, argument: str) -> None:
        """Does what the command says and answers it. Raises Refused."""

    async def _say(self, reply: Reply) -> None:
        self._writer.write(reply.wire())
        await self._writer.drain()

    def _forget(self) -> None:
        """Ends the transaction (RFC 5321 §4.1.1.5)."""
        self._mail = None

    def drain(self) -> None:
        """Ends the dialogue politely: at once when idle, else after the transaction."""
        self._is_draining = True
        if self._mail is None and self.transport is not None:
            self._writer.write(Reply(421, "4.3.2", "shutting down, please come back").wire())
            self.transport.close()

    # --- aiosmtpd's hooks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        was_plain = self._original_transport is None
        super().connection_made(transport)
        if not was_plain:  # RFC 3207 §4.2: after STARTTLS all is forgotten
            self._client = Client(ip=self._client.ip, tls=True)
            self._forget()

    def eof_received(self) -> bool:
        # A client may close its half after the dot and still wait for the reply.
        self._reader.feed_eof()
        return self.transport is not None and self.transport.get_extra_info("sslcontext") is None

    def _suspend_timeout(self) -> None:
        """While we work on a message, the client is not idle."""
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()

    def _timeout_cb(self) -> None:
        if self.transport is not None:
            self._writer.write(Reply(421, "4.4.2", "idle for too long").wire())
            self.transport.close()
