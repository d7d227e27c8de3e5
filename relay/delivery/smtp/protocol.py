"""An open connection to an SMTP server: octets out, replies in, in the order in which they come.

In: the transport of a connection that is greeted, encrypted and logged in, and what the server offers.
Out: `read` gives one reply after the other, so that commands may be written ahead of them (RFC 2920), and
limits the length of a reply and the time that it may take.  RFC 5321 §4.2.
"""

import asyncio
import re
import socket
from collections.abc import Mapping
from functools import lru_cache

from relay import reply as replies
from relay.deadline import NEVER, Deadline
from relay.delivery.smtp.conversation_record import MAX_RECEIVED, RECEIVED, ExchangeItem, HandshakeRecord
from relay.reply import Reply

MAX_REPLY = 1 << 16  # octets, all lines together
_MAX_KNOWN_LINE = 512  # octets of a reply's line (RFC 5321 §4.5.3.1.5)
_BLOCK = 1 << 16
_LINE = re.compile(rb"([0-9]{3})(?:([ -])([^\n]*))?\r?\n")
# A peer that has vanished is detected: after a minute while both are silent, after three while we send.
_OPTIONS = (
    ("SO_KEEPALIVE", socket.SOL_SOCKET, 1),
    ("TCP_KEEPIDLE", socket.IPPROTO_TCP, 30),
    ("TCP_KEEPINTVL", socket.IPPROTO_TCP, 10),
    ("TCP_KEEPCNT", socket.IPPROTO_TCP, 3),
    ("TCP_USER_TIMEOUT", socket.IPPROTO_TCP, 180_000),  # ms
)


class ConnectionLostError(Exception):
    """The connection has ended, or its replies cannot be understood. The text says why."""


class SmtpClientProtocol(asyncio.Protocol):
    """One connection, used for one mail at a time."""

    def __init__(self, transport: asyncio.Transport, extensions: Mapping[str, str], handshake: HandshakeRecord) -> None:
        self.needs_reset = False  # a transaction was begun on it and not ended
        self.last_activity_s = asyncio.get_running_loop().time()  # when octets were last received or sent
        self.deadline = NEVER  # of the event loop's clock; no read or write lasts beyond it
        self.handshake = handshake
        self.exchange: list[ExchangeItem] = []  # of the present transaction, what was sent and received
        self.mails_begun = 0
        self._recordable = MAX_RECEIVED  # octets
        self._transport = transport
        # What each mail asks for.
        self.is_pipelined, self.has_8bit, self.has_utf8, self.has_size, self.has_dsn = (
            name in extensions for name in ("pipelining", "8bitmime", "smtputf8", "size", "dsn")
        )
        size = extensions.get("size", "").strip()
        self.max_size = int(size) if size.isdecimal() and len(size) <= 20 else 0  # octets; 0: it names no limit
        self._buffer = bytearray()
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None  # of who reads, or waits for room to write
        self._wait_deadline = Deadline(self._loop, self._time_out)
        self._is_writable = True
        self._end_reason = ""
        _set_options(transport.get_extra_info("socket"))
        transport.set_protocol(self)

    @property
    def is_idle(self) -> bool:
        """True while it is open and no unexpected reply has come."""
        return not self._end_reason and not self._buffer and not self._transport.is_closing()

    def write(self, octets: bytes) -> None:
        """Sends without waiting. Raises ConnectionLostError."""
        if self._end_reason or self._transport.is_closing():
            raise ConnectionLostError(self._end_reason or "connection lost")
        self._transport.write(octets)

    def begin_exchange(self) -> None:
        """Forgets what was recorded of the transaction before."""
        self.exchange, self._recordable = [], MAX_RECEIVED
        self.mails_begun += 1

    def command(self, octets: bytes) -> None:
        """Sends commands, and records them. Raises ConnectionLostError."""
        self.write(octets)
        self.exchange.append((self._loop.time(), octets, 0))

    def record_mail(self, octets: int) -> None:
        """Records that a mail of so many octets was sent."""
        self.exchange.append((self._loop.time(), b"", octets))

    async def transfer(self, octets: bytes, timeout_s: float) -> None:
        """Sends all octets; the last ones may still be in the buffer. `timeout_s` is for each block. Raises
        ConnectionLostError."""
        for at in range(0, len(octets), _BLOCK):
            self.write(octets[at : at + _BLOCK])
            if self._is_writable:
                await asyncio.sleep(0)  # let other tasks run
            while not (self._is_writable or self._end_reason):
                await self._wait(timeout_s)

    def next_reply(self) -> Reply | None:
        """The next reply if it is here already. Raises ConnectionLostError."""
        return take_reply(self._buffer) if self._buffer else None

    async def read(self, timeout_s: float) -> Reply:
        """The next reply. Raises ConnectionLostError."""
        while (reply := self.next_reply()) is None:
            if self._end_reason:
                raise ConnectionLostError(self._end_reason)
            await self._wait(timeout_s)
        return reply

    async def _wait(self, timeout_s: float) -> None:
        """Until something has happened. Raises ConnectionLostError."""
        self._waiter = self._loop.create_future()
        self._wait_deadline.set(min(self._loop.time() + timeout_s, self.deadline))
        try:
            await self._waiter
        except TimeoutError:
            raise ConnectionLostError("timed out") from None
        finally:
            self._waiter = None
            self._wait_deadline.clear()
        self.last_activity_s = self._loop.time()

    def _time_out(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(TimeoutError())

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """Hangs up. What is written goes out as far as the other side takes it."""
        self._transport.close()

    def abort(self) -> None:
        """Hangs up at once."""
        self._transport.abort()

    def quit(self) -> None:
        """Sends QUIT and closes without waiting for its reply. RFC 5321 §4.1.1.10 asks for that; no server needs it."""
        if not self._end_reason and not self._transport.is_closing():
            self._transport.write(b"QUIT\r\n")
        self._transport.close()

    # --- what the event loop calls

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._recordable > 0:
            self._recordable -= len(data)
            self.exchange.append((self._loop.time(), data, RECEIVED))
        if len(self._buffer) > 4 * MAX_REPLY:
            self._transport.abort()
        self._wake()

    def eof_received(self) -> bool:
        self._record_end()
        return False  # and the transport closes

    def connection_lost(self, exc: Exception | None) -> None:
        self._record_end()
        self._wait_deadline.cancel()

    def pause_writing(self) -> None:
        self._is_writable = False

    def resume_writing(self) -> None:
        self._is_writable = True
        self._wake()

    def _record_end(self) -> None:
        self._end_reason = "connection lost"
        self._wake()


def take_reply(buffer: bytearray) -> Reply | None:
    """Takes the first reply out of the buffer; None while it is incomplete. Raises ConnectionLostError."""
    end = buffer.find(b"\n", 0, _MAX_KNOWN_LINE) + 1
    if end and (reply := _parse_line(bytes(buffer[:end]))):
        del buffer[:end]
        return reply
    at, code, text = 0, b"", []
    while at <= MAX_REPLY and (found := _LINE.match(buffer, at)):
        if code not in (b"", found[1]):  # RFC 5321 §4.2.1: the same on every line
            break
        at, code = found.end(), found[1]
        text.append((found[3] or b"").strip(b" \t\r"))
        if found[2] != b"-" and at <= MAX_REPLY:
            del buffer[:at]
            return replies.parse_reply(int(code), b"\n".join(text).decode("utf-8", "surrogateescape"))
    end = buffer.find(b"\n", at)
    if at > MAX_REPLY or (end < 0 and len(buffer) > MAX_REPLY):
        raise ConnectionLostError("the reply has no end")
    if end >= 0:
        line = replies.parse_reply(0, bytes(buffer[at:end][:200]).decode("utf-8", "surrogateescape"))
        raise ConnectionLostError(f"not an SMTP reply: {line.text}")
    return None


@lru_cache(maxsize=256)  # servers say the same again and again
def _parse_line(line: bytes) -> Reply | None:
    """A reply of one line; None for anything else."""
    found = _LINE.fullmatch(line)
    if not found or found[2] == b"-":
        return None
    return replies.parse_reply(int(found[1]), (found[3] or b"").strip(b" \t\r").decode("utf-8", "surrogateescape"))


def _set_options(sock: socket.socket | None) -> None:
    for name, level, value in _OPTIONS:
        if sock is not None and hasattr(socket, name):  # not on every system
            sock.setsockopt(level, getattr(socket, name), value)
