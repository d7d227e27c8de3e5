"""Read what a client has sent, by line or by block.  RFC 5321 §2.3.8.

Octets behind a message's dot are put back and read as commands (RFC 2920), also after the client has closed its half of
the connection.
"""

import asyncio

_BLOCK = 1 << 20


class LineTooLongError(Exception):
    """The line was longer than allowed. It has been read to its end."""


class CommandReader:
    """The octets of one connection, in order."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._octets = bytearray()

    @property
    def has_line(self) -> bool:
        """True if a whole line is here already."""
        return b"\n" in self._octets

    @property
    def is_empty(self) -> bool:
        """True if everything that has come is read."""
        return not self._octets and not self._reader._buffer  # type: ignore[attr-defined]  # no peek

    async def read_line(self, max_octets: int) -> bytes:
        """The next line without its end. Raises LineTooLongError; IncompleteReadError at the end of the stream."""
        is_too_long, searched = False, 0
        while (end := self._octets.find(b"\n", searched)) < 0:
            if len(self._octets) > max_octets:
                is_too_long = True
                self._octets.clear()
            searched = len(self._octets)
            self._octets += await self._receive()
        line = bytes(self._octets[:end]).rstrip(b"\r")
        del self._octets[: end + 1]
        if is_too_long or len(line) > max_octets:
            raise LineTooLongError
        return line

    async def read_block(self) -> bytes:
        """The octets that are here, at least one. Raises IncompleteReadError at the end of the stream."""
        if not self._octets:
            return await self._receive()
        block = bytes(self._octets)
        self._octets.clear()
        return block

    def put_back(self, octets: bytes) -> None:
        """Puts octets back: they are read next."""
        self._octets[:0] = octets

    def discard(self) -> None:
        """Drops octets that were sent ahead (RFC 3207 §4.2: nothing from before TLS is trusted)."""
        self._octets.clear()

    async def _receive(self) -> bytes:
        block = await self._reader.read(_BLOCK)
        if not block:
            raise asyncio.IncompleteReadError(b"", None)
        return block
