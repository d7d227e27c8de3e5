"""A TCP balancer as operators put before several machines: each connection goes to the next server that is up."""

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence

from tests.waypost_server import free_port

_BLOCK_OCTETS = 1 << 16


class Balancer:
    """Listens on `port`. `ports()` are those of the servers, of which some may not answer."""

    def __init__(self, ports: Callable[[], Sequence[int]]) -> None:
        self.port = free_port()
        self._ports, self._turns = ports, itertools.count()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(60)

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", self.port)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, ports = next(self._turns), self._ports()
        for turn in range(len(ports)):
            with contextlib.suppress(OSError):
                back_reader, back_writer = await asyncio.open_connection(
                    "127.0.0.1", ports[(first + turn) % len(ports)]
                )
                await asyncio.gather(_copy(reader, back_writer), _copy(back_reader, writer))
                return
        writer.close()

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while octets := await source.read(_BLOCK_OCTETS):
            target.write(octets)
            await target.drain()
    target.close()


@contextlib.contextmanager
def balanced(ports: Callable[[], Sequence[int]]) -> Iterator[int]:
    """The port of a balancer before those."""
    one = Balancer(ports)
    try:
        yield one.port
    finally:
        one.close()
