"""How much mail may be in memory at a time: large messages wait for each other, small ones for nobody."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

_SMALL = 1 << 20  # octets; as many of these as there may be deliveries under way are no burden
_MOST = 64 << 20


class Freight:
    """Room for so many octets. What is larger than all of it goes alone."""

    def __init__(self, octets: int = _MOST) -> None:
        self._most = octets
        self._aboard = 0
        self._line = asyncio.Lock()  # first come, first served: what is very large has its turn too
        self._landed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def aboard(self, octets: int) -> AsyncIterator[None]:
        """Waits for room, and takes it up meanwhile."""
        if octets < _SMALL:
            yield
            return
        async with self._line:
            while self._aboard and self._aboard + octets > self._most:
                self._landed.clear()
                await self._landed.wait()
            self._aboard += octets
        try:
            yield
        finally:
            self._aboard -= octets
            self._landed.set()
