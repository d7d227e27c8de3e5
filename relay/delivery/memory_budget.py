"""A limit on the mail in memory: large messages wait for each other, small ones never wait."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

_MAX_UNCOUNTED = (
    1 << 20
)  # octets; smaller messages are not counted, because the number of deliveries under way is limited
_MAX_OCTETS = 64 << 20


class MemoryBudget:
    """A budget of octets. A message larger than the whole budget is handled alone."""

    def __init__(self, octets: int = _MAX_OCTETS) -> None:
        self._max_octets = octets
        self._reserved = 0
        self._queue = asyncio.Lock()  # first come, first served, so that a very large message has its turn too
        self._released = asyncio.Event()

    @staticmethod
    def counts(octets: int) -> bool:
        """False for a message that needs no reservation."""
        return octets >= _MAX_UNCOUNTED

    @contextlib.asynccontextmanager
    async def reserve(self, octets: int) -> AsyncIterator[None]:
        """Waits until the budget has that many octets left, and reserves them meanwhile."""
        if not self.counts(octets):
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
