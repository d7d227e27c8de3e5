"""The upstream: a process that takes mail, or does what its script says.

    python -m benchmarks.chaos.sink PORT SCRIPT ARRIVALS

SCRIPT is a file that holds one word, read again at each step; ARRIVALS gets a line for each mail of the load that was
taken, and the last other one is written beside it (`other.eml`).
"""

import asyncio
import os
import re
import sys
from pathlib import Path

_ID = re.compile(rb"^Message-ID: <([^@>]+)@load\.test>", re.MULTILINE | re.IGNORECASE)
_STEP_S = 0.1


class Sink:
    """Its script's words stand in the methods that follow them."""

    def __init__(self, script: Path, arrivals: Path) -> None:
        self._script, self._file = script, os.open(arrivals, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._other = arrivals.with_name("other.eml")
        self._mails = 0

    def word(self) -> str:
        return self._script.read_text().strip()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._converse(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        began_as = self.word()
        if began_as == "down":
            return
        if began_as == "greets-late":
            await asyncio.sleep(25)
        if began_as == "greets-garbage":
            writer.write(os.urandom(200) + b"\r\n")
        elif began_as == "greets-without-end":
            await self._endless(writer, b"220-more\r\n")
        else:
            await self._say(writer, b"220 sink.test ESMTP\r\n")
        while line := await reader.readuntil(b"\n"):
            verb = line[:4].upper()
            if verb == b"EHLO":
                await self._say(
                    writer, b"250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n"
                )
            elif verb == b"DATA":
                await self._say(writer, b"354 go ahead\r\n")
                if not await self._data(reader, writer):
                    return
            elif verb == b"QUIT":
                await self._say(writer, b"221 2.0.0 bye\r\n")
                return
            else:
                await self._say(writer, b"250 2.0.0 ok\r\n")

    async def _data(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """True if the connection goes on."""
        octets = bytearray(b"\r\n")
        while not octets.endswith(b"\r\n.\r\n"):
            if self.word() == "reads-slowly":
                octets += await reader.readexactly(1)
                await asyncio.sleep(1)
            else:
                octets += await reader.readuntil(b"\n") if octets.endswith(b"\n") else await reader.readexactly(1)
        self._mails += 1
        if (word := self.word()) == "mute":
            await asyncio.sleep(3600)
        if word == "soft":
            await self._say(writer, b"451 4.3.0 not now\r\n")
        elif word == "closes":
            return False
        elif word == "421" and self._mails % 2:
            await self._say(writer, b"421 4.3.2 closing\r\n")
            return False
        elif word == "garbage":
            writer.write(os.urandom(100).replace(b"\n", b"") + b"\r\n")
        elif word == "without-end":
            await self._endless(writer, b"250-more\r\n")
        elif word == "line-without-end":
            await self._endless(writer, b"250 more")
        else:
            self._take(bytes(octets))
            if word == "resets":
                writer.write(b"250 2.0.0 ok\r\n")
                await writer.drain()
                writer.transport.abort()
                return False
            if word == "taken-garbage":
                writer.write(b"250 " + os.urandom(100).replace(b"\n", b"") + b"\r\n")
            else:
                await self._say(writer, b"250 2.0.0 ok\r\n")
        return True

    def _take(self, octets: bytes) -> None:
        if found := _ID.search(octets):
            os.write(self._file, found[1] + b"\n")
        else:
            self._other.write_bytes(octets)

    async def _say(self, writer: asyncio.StreamWriter, octets: bytes) -> None:
        if self.word() == "replies-slowly":
            for place in range(len(octets)):
                writer.write(octets[place : place + 1])
                await asyncio.sleep(_STEP_S)
        else:
            writer.write(octets)
        await writer.drain()

    async def _endless(self, writer: asyncio.StreamWriter, octets: bytes) -> None:
        for _ in range(100_000):
            writer.write(octets * 100)
            await writer.drain()


async def main() -> None:
    port, script, arrivals = sys.argv[1:]
    sink = Sink(Path(script), Path(arrivals))
    server = await asyncio.start_server(sink.accept, "127.0.0.1", int(port), limit=1 << 26, backlog=1000)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
