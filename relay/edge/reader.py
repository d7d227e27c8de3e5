"""What a client has sent, by line or by block.  RFC 5321 §2.3.8.

In: octets as they come from the event loop.  Out: lines and blocks, in order. Octets behind a message's dot are put
back and read as commands (RFC 2920), also after the client has closed its half of the connection. (asyncio's
StreamReader takes four calls more for each line, and would copy each block once more.)
"""

import asyncio

MAX_BLOCK = 1 << 17  # octets, so that what is searched is in the cache: 1 MB as one block took a sixth more
_MAX_WAITING = 1 << 18  # octets that nobody has read yet: then the client is not read from until they are


class LineTooLongError(Exception):
    """The line was longer than allowed. It has been read to its end."""


class CommandReader:
    """The octets of one connection, in order. One task reads at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._octets = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._has_ended = False
        self._transport: asyncio.Transport | None = None
        self._is_paused = False

    # --- from the event loop

    def connect(self, transport: asyncio.Transport) -> None:
        """The octets come from there from now on. What has come before is dropped (RFC 3207 §4.2: nothing from before
        TLS is trusted)."""
        self._transport, self._is_paused = transport, False
        self._octets.clear()

    def feed(self, octets: bytes) -> None:
        """Octets have come."""
        self._octets += octets
        if self._waiter is not None:
            self._wake()
        elif len(self._octets) > _MAX_WAITING and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def feed_end(self) -> None:
        """No more will come."""
        self._has_ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- from the connection's task

    @property
    def has_line(self) -> bool:
        """True if a whole line is here already."""
        return b"\n" in self._octets

    @property
    def is_empty(self) -> bool:
        """True if everything that has come is read."""
        return not self._octets

    async def read_line(self, max_octets: int) -> bytes:
        """The next line without its end. Raises LineTooLongError; IncompleteReadError at the end of the stream."""
        octets = self._octets
        is_too_long, searched = False, 0
        while (end := octets.find(b"\n", searched)) < 0:
            if len(octets) > max_octets:
                is_too_long = True
                octets.clear()
            searched = len(octets)
            await self._wait()
        line = bytes(octets[:end]).rstrip(b"\r")
        del octets[: end + 1]
        if is_too_long or len(line) > max_octets:
            raise LineTooLongError
        return line

    async def read_block(self) -> bytes:
        """The octets that are here, at least one, at most MAX_BLOCK. Raises IncompleteReadError at the end of the
        stream."""
        if not self._octets:
            await self._wait()
        if len(self._octets) <= MAX_BLOCK:
            return self.take_all()
        block = bytes(memoryview(self._octets)[:MAX_BLOCK])
        del self._octets[:MAX_BLOCK]
        return block

    def take_all(self) -> bytes:
        """The octets that are here."""
        block = bytes(self._octets)
        self._octets.clear()
        return block

    def put_back(self, octets: bytes) -> None:
        """Puts octets back: they are read next."""
        self._octets[:0] = octets

    async def _wait(self) -> None:
        """Until octets have come. Raises IncompleteReadError at the end of the stream."""
        if self._has_ended:
            raise asyncio.IncompleteReadError(b"", None)
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()
        count = len(self._octets)
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        if len(self._octets) == count:
            raise asyncio.IncompleteReadError(b"", None)
