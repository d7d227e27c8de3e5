"""How much mail may be in memory at a time: large messages wait for each other, small ones for nobody."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

_SMALL = 1 << 20  # octets; as many of these as there may be deliveries under way are no burden
_MAX_OCTETS = 64 << 20


class MemoryBudget:
    """A budget of octets. What is larger than the whole budget goes alone."""

    def __init__(self, octets: int = _MAX_OCTETS) -> None:
        self._max_octets = octets
        self._reserved = 0
        self._queue = asyncio.Lock()  # first come, first served: what is very large has its turn too
        self._released = asyncio.Event()

    @contextlib.asynccontextmanager
    async def reserve(self, octets: int) -> AsyncIterator[None]:
        """Waits until the budget has that many octets left, and holds them meanwhile."""
        if octets < _SMALL:
            yield
            return
        async with self._queue:
            while self._reserved and self._reserved + octets > self._max_octets:
                self._released.clear()
                await self._released.wait()
            self._reserved += octets
        try:
            yield
        finally:
            self._reserved -= octets
            self._released.set()
