"""One client's dialogue: lines in, replies out, TLS, a timer, an error budget, a polite end.  RFC 5321 §4, RFC 3207.

aiosmtpd gives the connection and the timer. What a command means is in `commands`.
"""

import asyncio
import secrets
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from aiosmtpd.smtp import SMTP

from relay import log
from relay.config.smtp import ListenConfig
from relay.edge import auth, proxy_protocol, tls
from relay.edge.connection_limits import Connections, Place
from relay.edge.policy import Policy
from relay.edge.reader import Incoming, LineTooLong
from relay.envelope import AcceptMessage, Authenticate, CheckRecipient, Client, Envelope, ReturnPathHandler
from relay.reply import RefusedError, Reply, refusal

LONGEST_COMMAND = 2048  # octets; 512 and what extensions add (RFC 5321 §4.5.3.1.4)
LONGEST_RESPONSE = 12288  # octets of a line with credentials (RFC 4954 §4)
MOST_ERRORS = 20  # between two accepted messages
MAX_IDLE_TIMES = 4  # of waiting for a stranger's commands without a mail: then it has been here for long enough
# Commands that bring no mail, and MAIL, RCPT and DATA that were refused, since the last mail: of strangers (True)
# and of others, who may keep a connection open for days. From there on each counts as a mistake.
MAX_JUNK, MAX_REFUSED = {True: 100, False: 10_000}, {True: 20, False: 10_000}
WRONG_PASSWORD = 4  # counts as that many: five guesses
# The client's own: syntax, sequence, credentials. A recipient that we refuse is none of them.
_MISTAKES = dict.fromkeys((500, 501, 502, 503, 504, 555), 1) | {535: WRONG_PASSWORD}
# From that many mistakes on a stranger waits before each reply that says no, longer each time.
_PATIENCE, _PAUSE_S, _MAX_PAUSE_S = 5, 0.1, 1.0
_LINES_A_TURN = 20  # commands that are sent ahead: then others have their turn
_GROUPED = frozenset({"RSET", "MAIL", "RCPT"})  # RFC 2920 §3.2: their replies may wait for each other
_TLS_HELLO = "\x16\x03"  # RFC 8446 §5.1: a handshake record
_QUIT_S = 1.0  # for a client that has had its 250 to say so while we shut down
_HALF_CLOSE_S = 3.0  # after the dot: a client that closes its half later than that has lost patience
_LAST_READ_S = 30.0  # for a client to read what was said last, or as long as it may be idle


class Door(NamedTuple):
    """What all sessions of a process share."""

    hostname: str
    max_size: int
    idle_s: float
    policy: Policy
    connections: Connections
    take: AcceptMessage
    admit: CheckRecipient
    log_in: Authenticate
    guesses: auth.Guesses
    sessions: "set[Dialogue]"
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    reports: ReturnPathHandler | None = None  # for mail to the return path, which anybody may send


class Gate(NamedTuple):
    """What the sessions of one `[[listen]]` share."""

    listen: ListenConfig
    certificate: tls.Certificate | None


class Dialogue(SMTP):
    """A client's connection. Every reply is a `Reply`; what says no raises `RefusedError`."""

    line_length_limit = 1 << 17  # the reader's buffer: large blocks of DATA

    def __init__(self, door: Door, gate: Gate) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(None, hostname=door.hostname, enable_SMTPUTF8=True, timeout=door.idle_s, loop=loop)
        self._door = door
        self._gate = gate
        self._client = Client(ip="")
        self._mail: Envelope | None = None
        self._errors = 0
        self._junk = self._refused = 0
        self._place: Place | None = None
        self._waited_s = 0.0  # for commands, since the last mail
        self._lines = 0
        self._refusals: Counter[tuple[int, str]] = Counter()
        self._verb = ""
        self._unsent = bytearray()
        self._dot_at_s = 0.0  # of the event loop's clock
        self._hung_up: asyncio.Future[None] | None = None  # while a reply to the dot is awaited
        self._may_speak = False  # a word before the greeting, or into a handshake, would be gibberish
        self._is_draining = False

    def __dir__(self) -> list[str]:
        """Nothing: aiosmtpd looks through these for commands of its own, which took half the time of a connection."""
        return []

    # --- the dialogue

    async def _handle_client(self) -> None:
        """aiosmtpd's task for a connection."""
        peer = self.session.peer if self.session else None
        ip = str(peer[0]).partition("%")[0] if isinstance(peer, tuple) else "127.0.0.1"
        self._incoming = Incoming(self._reader)
        self._door.sessions.add(self)
        try:
            if self._gate.listen.proxy_protocol:
                ip = await self._named_by_proxy(ip)
            self._client = Client(ip=ip)
            self._may_speak = self._gate.listen.tls != "implicit"
            self._place = self._door.connections.enter(ip, may_relay=not self._is_stranger)
            if not self._may_speak:
                await self._start_tls(early=bytes(self._reader._buffer))  # type: ignore[attr-defined]  # no peek
            await self._say(Reply(220, "", f"{self._door.hostname} ESMTP Waypost"))
            await self._converse()
        except RefusedError as refusal:
            if self._may_speak:
                await self._say(refusal.reply)
        except proxy_protocol.BadHeader as error:
            log.proxy_refused(ip, str(error))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client is gone
        finally:
            self._door.sessions.discard(self)
            if self._place:
                self._place.leave()
            if repeated := self._refusals.total() - len(self._refusals):
                log.refused_again(self._client.ip, repeated)
            if self.transport is not None:
                self._writer.write(bytes(self._unsent))
                self._hang_up()

    async def _converse(self) -> None:
        is_first = True
        while self.transport is not None and not (self._is_draining and self._mail is None):
            began = self.loop.time()
            line = await self._command_line()
            self._waited_s += self.loop.time() - began
            self._reset_timeout()
            verb, _, argument = line.partition(" ")
            self._verb = verb.upper()
            if is_first and (argument.upper().endswith((" HTTP/1.0", " HTTP/1.1")) or line.startswith(_TLS_HELLO)):
                return  # a browser, a forged cross-protocol request, TLS where none is spoken: not a word to it
            is_first = False
            try:
                self._may_stay()
                await self._obey(self._verb, argument.strip())
            except RefusedError as refusal:
                self._errors += _MISTAKES.get(refusal.reply.code, 0)
                self._log_refusal(refusal.reply)
                await self._pause()
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
            if self._verb == "QUIT":
                return
            self._may_err()
        if self._is_draining and self.transport is not None:
            await self._part()

    def _may_err(self) -> None:
        if self._errors >= MOST_ERRORS:
            raise refusal(421, "4.7.0", "too many errors")

    def _may_stay(self) -> None:
        if self._is_stranger and self._waited_s > MAX_IDLE_TIMES * self._door.idle_s:
            raise refusal(421, "4.4.2", "too long without a mail")

    @property
    def _is_stranger(self) -> bool:
        return not self._door.policy.may_relay(self._client)

    def _log_refusal(self, reply: Reply) -> None:
        """Says a refusal once; how often it came again is said when the connection ends."""
        key = reply.code, reply.status
        self._refusals[key] += 1
        if self._refusals[key] == 1:
            log.refused(self._client.ip, *reply)

    async def _pause(self) -> None:
        if self._errors >= _PATIENCE and self._is_stranger:
            await asyncio.sleep(min((self._errors - _PATIENCE + 1) * _PAUSE_S, _MAX_PAUSE_S))

    async def _part(self) -> None:
        """The end of a dialogue while we shut down. Its mail has had its 250; where QUIT is answered 421, programs
        (smtplib) take all that they did for failed, and do it again."""
        try:
            async with asyncio.timeout(_QUIT_S):
                line = await self._command_line()
        except TimeoutError:
            line = ""
        if line.strip().upper() == "QUIT":
            await self._obey("QUIT", "")
        else:
            self._verb = ""
            await self._say(Reply(421, "4.3.2", "shutting down, please come back"))

    async def _command_line(self) -> str:
        while True:
            self._lines += 1
            if self._lines % _LINES_A_TURN == 0:
                await asyncio.sleep(0)  # lines that are here already would be read without a turn for anybody else
            try:
                line = await self._incoming.line(LONGEST_RESPONSE)
                if len(line) > LONGEST_COMMAND and line[:5].upper() != b"AUTH ":
                    raise LineTooLong
            except LineTooLong:
                self._errors += 1
                self._verb = ""
                await self._say(Reply(500, "5.5.2", "line too long"))
                self._may_err()
                continue
            return line.decode("utf-8", "surrogateescape")

    @abstractmethod
    async def _obey(self, verb: str, argument: str) -> None:
        """Does what the command says and answers it. Raises RefusedError."""

    async def _say(self, reply: Reply) -> None:
        self._unsent += reply.wire()
        if self._verb in _GROUPED and self._incoming.holds_line:
            return  # more was sent ahead: the replies go together
        await self._send()

    async def _send(self) -> None:
        unsent, self._unsent = bytes(self._unsent), bytearray()
        self._writer.write(unsent)
        await self._writer.drain()

    def _forget(self) -> None:
        """Ends the transaction (RFC 5321 §4.1.1.5)."""
        self._mail = self._hung_up = None

    def drain(self) -> None:
        """Ends the dialogue politely: at once when idle, else after the transaction."""
        self._is_draining = True
        if self._mail is None and self.transport is not None:
            self._last_words(Reply(421, "4.3.2", "shutting down, please come back"))

    def _last_words(self, reply: Reply) -> None:
        assert self.transport is not None
        if self._may_speak:
            self._writer.write(bytes(self._unsent) + reply.wire())
        self._hang_up()

    def _hang_up(self) -> None:
        """Closes when the client has read what was said: one that never reads would hold its connection for ever."""
        assert isinstance(self.transport, asyncio.Transport)
        if self.transport.is_closing():
            return
        is_unread = self.transport.get_write_buffer_size() > 0
        self.transport.close()
        if is_unread:
            self.loop.call_later(min(_LAST_READ_S, self._door.idle_s), self.transport.abort)

    # --- before the greeting, and TLS

    async def _named_by_proxy(self, peer: str) -> str:
        if not self._door.policy.may_speak_for_others(peer, self._gate.listen):
            raise proxy_protocol.BadHeader("not in the listener's proxy_networks")
        self._reset_timeout(proxy_protocol.HEADER_S)
        ip = await proxy_protocol.client_ip(self._reader, peer)
        self._reset_timeout()
        return ip

    async def _start_tls(self, early: bytes = b"") -> None:
        """The connection goes on under TLS; all that was said in clear is forgotten (RFC 3207 §4.2).

        `early` is what the client has sent of the handshake already: with implicit TLS it need not wait for us. What
        is sent ahead of STARTTLS's 220 is dropped, and never carried into the protected dialogue.
        Raises ConnectionError when the handshake fails.
        """
        assert self._gate.certificate is not None and isinstance(self.transport, asyncio.Transport)
        shaken: asyncio.Future[None] = self.loop.create_future()
        below = self.transport
        layer = tls.Layer(self.loop, self, self._gate.certificate.context(), shaken)
        self._tls_protocol, self._original_transport = layer, below
        below.set_protocol(layer)
        self.transport = layer._app_transport
        layer.connection_made(below)
        below.resume_reading()  # a reader with too much in it had paused it
        layer.begin_with(early)
        self._may_speak = False
        try:
            await shaken
        except OSError as error:
            raise ConnectionError("no TLS handshake") from error
        self._may_speak = True

    # --- aiosmtpd's hooks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        was_plain = self._original_transport is None
        super().connection_made(transport)
        if not was_plain:
            self._client = Client(ip=self._client.ip, tls=True)
            self._incoming.forget()
            self._forget()

    def connection_lost(self, error: Exception | None) -> None:
        self._note_hang_up()
        super().connection_lost(error)

    def eof_received(self) -> bool:
        # A client may close its half after the dot and still wait for the reply. One that has lost patience closes
        # both; that looks the same until we speak, and then it is too late, but it comes later.
        if self.loop.time() - self._dot_at_s > _HALF_CLOSE_S:
            self._note_hang_up()
        self._reader.feed_eof()
        return self.transport is not None and self.transport.get_extra_info("sslcontext") is None

    def _note_hang_up(self) -> None:
        """RFC 5321 §4.1.1.10: a client that breaks off keeps its mail, unless it is too late to give that back, as
        `take` decides. One that has sent QUIT ahead does not break off."""
        if self._hung_up is not None and not self._hung_up.done() and self._incoming.is_empty:
            self._hung_up.set_result(None)

    def _suspend_timeout(self) -> None:
        """While we work on a message, the client is not idle."""
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()

    def _timeout_cb(self) -> None:
        if self.transport is not None:
            self._last_words(Reply(421, "4.4.2", "idle for too long"))
