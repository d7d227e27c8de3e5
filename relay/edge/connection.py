"""One client's connection: lines in, replies out, TLS, a timer, an orderly end.  RFC 5321 §4, RFC 3207.

aiosmtpd provides the connection and the timer. What a command means is in `commands`.
"""

import asyncio
import secrets
import ssl
from abc import abstractmethod
from collections import Counter
from typing import cast

from aiosmtpd.smtp import SMTP

from relay import log, metrics
from relay.deadline import Deadline
from relay.edge import proxy_protocol, refusal_log, tls
from relay.edge.connection_limits import ConnectionSlot
from relay.edge.contexts import ListenerContext, ServerContext
from relay.edge.error_budget import ErrorBudget
from relay.edge.reader import CommandReader, LineTooLongError
from relay.envelope import Client, Envelope
from relay.reply import RefusedError, Reply

MAX_COMMAND = 2048  # octets; 512 and what extensions add (RFC 5321 §4.5.3.1.4)
MAX_RESPONSE = 12288  # octets of a line with credentials (RFC 4954 §4)
_LINES_PER_TURN = 20  # commands that are sent ahead: then other connections have their turn
_GROUPED_COMMANDS = frozenset({"RSET", "MAIL", "RCPT"})  # RFC 2920 §3.2: their replies may wait for each other
_TLS_HELLO = "\x16\x03"  # RFC 8446 §5.1: a handshake record
_TLS_IN_CLEAR = Reply(0, "", 'TLS at once on a port that begins in clear: use STARTTLS, or a listener with "implicit"')
_QUIT_S = 1.0  # for a client that has had its 250 to say so while we shut down
_HALF_CLOSE_S = 3.0  # after the dot: a client that closes its half later than that has lost patience
_LAST_READ_S = 30.0  # for a client to read what was said last, or as long as it may be idle


class SmtpConnection(SMTP):
    """A client's connection. Every reply is a `Reply`; a refusal is a `RefusedError`."""

    line_length_limit = 1 << 17  # the reader's buffer: large blocks of DATA

    def __init__(self, server: ServerContext, listener: ListenerContext) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(None, hostname=server.hostname, enable_SMTPUTF8=True, timeout=server.idle_s, loop=loop)
        self._server = server
        self._listener = listener
        self._client = Client(ip="")
        self._is_stranger = True
        self._command_reader = CommandReader(loop)
        self._reads_proxy_header = listener.listen.proxy_protocol  # aiosmtpd reads it, from asyncio's StreamReader
        self._mail: Envelope | None = None
        self._error_budget = ErrorBudget()
        self._slot: ConnectionSlot | None = None
        self._lines = 0
        self._refusals: Counter[tuple[int, str]] = Counter()
        self._verb = ""
        self._unsent_replies = b""
        self._deadline = Deadline(loop, self._timeout_cb)
        self._timeout_handle = self._deadline  # type: ignore[assignment]  # aiosmtpd cancels it at the end
        self._dot_at_s = 0.0  # of the event loop's clock
        self._hung_up: asyncio.Future[None] | None = None  # while a reply to the dot is awaited
        self._can_send = False  # a word before the greeting, or into a handshake, would be gibberish
        self._is_draining = False

    def __dir__(self) -> list[str]:
        """Nothing: aiosmtpd looks through these for commands of its own, which took half the time of a connection."""
        return []

    # --- commands and replies

    async def _handle_client(self) -> None:
        """aiosmtpd's task for a connection."""
        peer = self.session.peer if self.session else None
        ip = str(peer[0]).partition("%")[0] if isinstance(peer, tuple) else "127.0.0.1"
        log.add_to_lines(connection=secrets.token_hex(5))
        self._server.connections.add(self)
        metrics.connection_opened()
        try:
            if self._listener.listen.proxy_protocol:
                ip = await self._read_proxy_header(ip)
            self._set_client(Client(ip=ip))
            self._can_send = self._listener.listen.tls != "implicit"
            self._slot = self._server.connection_limits.take_slot(ip, may_relay=not self._is_stranger)
            if not self._can_send:
                await self._start_tls(early=self._command_reader.take_all())
            await self._reply(Reply(220, "", f"{self._server.hostname} ESMTP Waypost"))
            await self._run_commands()
        except RefusedError as refusal:
            metrics.refused(refusal.reply.code)
            self._server.refusals.add_connection(self._client, "CONNECT", refusal.reply)
            if self._can_send:
                await self._reply(refusal.reply)
        except proxy_protocol.ProxyHeaderError as error:
            log.proxy_refused(ip, str(error))
            self._server.refusals.add_connection(Client(ip=ip), "PROXY", Reply(0, "", str(error)))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client is gone
        finally:
            self._server.connections.discard(self)
            metrics.connection_closed()
            if self._slot:
                self._slot.release()
            if repeated := self._refusals.total() - len(self._refusals):
                log.refused_again(self._client.ip, repeated)
            if self.transport is not None and not self.transport.is_closing():
                self._writer.write(self._unsent_replies)
                self._hang_up()

    async def _run_commands(self) -> None:
        is_first = True
        while self.transport is not None and not (self._is_draining and self._mail is None):
            began = self.loop.time()
            line = await self._command_line()
            now = self.loop.time()
            self._deadline.set(now + self._server.idle_s)
            verb, _, argument = line.partition(" ")
            self._verb, mail = verb.upper(), self._mail
            if is_first and (argument.upper().endswith((" HTTP/1.0", " HTTP/1.1")) or line.startswith(_TLS_HELLO)):
                if line.startswith(_TLS_HELLO):
                    self._server.refusals.add_connection(self._client, "TLS", _TLS_IN_CLEAR)
                return  # a browser, a forged cross-protocol request, or TLS on a port without it: no answer
            is_first = False
            try:
                if self._is_stranger:
                    self._error_budget.count_wait(now - began, self._server.idle_s)
                await self._dispatch(self._verb, argument.strip())
            except RefusedError as refusal:
                self._error_budget.count_refusal(refusal.reply)
                self._log_refusal(refusal.reply, argument, mail)
                if pause_s := self._error_budget.pause_s(is_stranger=self._is_stranger):
                    await asyncio.sleep(pause_s)
                await self._reply(refusal.reply)
                if refusal.reply.closes_connection:
                    return
            except (ConnectionError, asyncio.IncompleteReadError):
                raise
            except Exception:  # noqa: BLE001  the outermost loop: what we do not understand is temporary
                fault = secrets.token_hex(4)
                log.fault("edge", fault)
                self._reset_transaction()
                await self._reply(Reply(451, "4.3.0", f"internal fault {fault}; please try again later"))
            if self._verb == "QUIT":
                return
            self._error_budget.check_errors()
        if self._is_draining and self.transport is not None:
            await self._finish_draining()

    def _set_client(self, client: Client) -> None:
        """From now on this is known of the client."""
        self._client = client
        self._is_stranger = not self._server.policy.may_relay(client)

    def _log_refusal(self, reply: Reply, argument: str, mail: Envelope | None) -> None:
        """Logs a refusal once; when the connection ends, it is logged how often it was repeated."""
        metrics.refused(reply.code)
        if self._verb in refusal_log.COMMANDS:
            self._server.refusals.add(self._client, self._verb, argument, mail, reply, is_stranger=self._is_stranger)
        elif self._verb in refusal_log.CONNECTION_COMMANDS:
            self._server.refusals.add_connection(self._client, self._verb, reply)
        key = reply.code, reply.status
        self._refusals[key] += 1
        if self._refusals[key] == 1:
            log.refused(self._client.ip, *reply)

    async def _finish_draining(self) -> None:
        """The shutdown of an idle connection: waits up to a second for QUIT and answers it with 221. smtplib takes 421
        to QUIT as a failure of the whole session, and would send its mail again."""
        try:
            async with asyncio.timeout(_QUIT_S):
                line = await self._command_line()
        except TimeoutError:
            line = ""
        if line.strip().upper() == "QUIT":
            await self._dispatch("QUIT", "")
        else:
            self._verb = ""
            await self._reply(Reply(421, "4.3.2", "shutting down, please come back"))

    async def _command_line(self) -> str:
        while True:
            self._lines += 1
            if self._lines % _LINES_PER_TURN == 0:
                await asyncio.sleep(0)  # lines that are here already would be read without a turn for anybody else
            try:
                line = await self._command_reader.read_line(MAX_RESPONSE)
                if len(line) > MAX_COMMAND and line[:5].upper() != b"AUTH ":
                    raise LineTooLongError
            except LineTooLongError:
                self._error_budget.count_error()
                self._verb = ""
                await self._reply(Reply(500, "5.5.2", "line too long"))
                self._error_budget.check_errors()
                continue
            return line.decode("utf-8", "surrogateescape")

    @abstractmethod
    async def _dispatch(self, verb: str, argument: str) -> None:
        """Runs a command and answers it. Raises RefusedError."""

    async def _reply(self, reply: Reply) -> None:
        self._unsent_replies += reply.wire()
        if self._verb in _GROUPED_COMMANDS and self._command_reader.has_line:
            return  # more was sent ahead: the replies go together
        unsent, self._unsent_replies = self._unsent_replies, b""
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        transport.write(unsent)  # type: ignore[attr-defined]  # it can; a cast would be a call
        if self._paused:  # type: ignore[attr-defined]  # asyncio's FlowControlMixin: the client does not read
            await self._writer.drain()

    def _reset_transaction(self) -> None:
        """Ends the transaction (RFC 5321 §4.1.1.5)."""
        self._mail = self._hung_up = None

    def drain(self) -> None:
        """Ends the connection in order: at once when idle, else after the transaction."""
        self._is_draining = True
        if self._mail is None and self.transport is not None:
            self._close_with(Reply(421, "4.3.2", "shutting down, please come back"))

    def _close_with(self, reply: Reply) -> None:
        assert self.transport is not None
        if self._can_send:
            self._writer.write(self._unsent_replies + reply.wire())
        self._hang_up()

    def _hang_up(self) -> None:
        """Closes once the client has read the last reply. A client that never reads is cut off after a time."""
        transport = cast(asyncio.Transport, self.transport)  # uvloop's does not inherit from it
        if transport.is_closing():
            return
        is_unread = transport.get_write_buffer_size() > 0
        transport.close()
        if is_unread:
            self.loop.call_later(min(_LAST_READ_S, self._server.idle_s), transport.abort)

    # --- before the greeting, and TLS

    async def _read_proxy_header(self, peer: str) -> str:
        if not self._server.policy.may_use_proxy_protocol(peer, self._listener.listen):
            raise proxy_protocol.ProxyHeaderError("not in the listener's proxy_networks")
        self._reset_timeout(proxy_protocol.HEADER_S)
        ip = await proxy_protocol.read_client_ip(self._reader, peer)
        self._reset_timeout()
        self._reads_proxy_header = False
        if self._reader._buffer:  # type: ignore[attr-defined]  # no peek
            self._command_reader.feed(await self._reader.read(1 << 20))  # what came behind it: all, without waiting
        return ip

    async def _start_tls(self, early: bytes = b"") -> None:
        """The connection continues under TLS; all that was sent in clear is discarded (RFC 3207 §4.2).

        `early` is what the client has sent of the handshake already: with implicit TLS it need not wait for us. What
        is sent ahead of STARTTLS's 220 is dropped, and never taken over into the protected connection.
        Raises ConnectionError when the handshake fails.
        """
        assert self._listener.certificate is not None
        handshake: asyncio.Future[None] = self.loop.create_future()
        below = cast(asyncio.Transport, self.transport)
        layer = tls.SmallBufferTls(self.loop, self, self._listener.certificate.current_context(), handshake)
        self._tls_protocol, self._original_transport = layer, below
        below.set_protocol(layer)
        self.transport = layer._app_transport
        layer.connection_made(below)
        below.resume_reading()  # a reader with too much in it had paused it
        layer.feed_early_bytes(early)
        self._can_send = False
        try:
            await handshake
        except OSError as error:
            if isinstance(error, ssl.SSLError) and error.reason:
                reason = str(error.reason).replace("_", " ").lower()
                self._server.refusals.add_connection(self._client, "TLS", Reply(0, "", f"no TLS: {reason}"))
            raise ConnectionError("no TLS handshake") from error
        self._can_send = True

    # --- aiosmtpd's hooks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        was_plain = self._original_transport is None
        self._command_reader.connect(cast(asyncio.Transport, transport))
        super().connection_made(transport)
        if not was_plain:
            self._set_client(Client(ip=self._client.ip, tls=True))
            self._reset_transaction()

    def data_received(self, data: bytes) -> None:
        if self._reads_proxy_header:
            super().data_received(data)
        else:
            self._command_reader.feed(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._record_hang_up()
        super().connection_lost(error)

    def eof_received(self) -> bool:
        # A client may close its half after the dot and still wait for the reply. One that has lost patience closes
        # both; that looks the same until we speak, and then it is too late, but it comes later.
        if self.loop.time() - self._dot_at_s > _HALF_CLOSE_S:
            self._record_hang_up()
        self._reader.feed_eof()
        self._command_reader.feed_end()
        return self.transport is not None and self.transport.get_extra_info("sslcontext") is None

    def _record_hang_up(self) -> None:
        """RFC 5321 §4.1.1.10: a client that breaks off keeps its mail, unless it is too late to give that back, as
        `accept_message` decides. One that has sent QUIT ahead does not break off."""
        if self._hung_up is not None and not self._hung_up.done() and self._command_reader.is_empty:
            self._hung_up.set_result(None)

    def _reset_timeout(self, duration: float | None = None) -> None:
        self._deadline.set(self.loop.time() + (duration or self._server.idle_s))

    def _timeout_cb(self) -> None:
        if self.transport is not None:
            self._close_with(Reply(421, "4.4.2", "idle for too long"))
