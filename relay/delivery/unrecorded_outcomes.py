"""A limit on what has been sent and is not recorded yet: only that comes a second time after a kill.

A connection is free for the next mail as soon as the upstream has replied. With a slow disk many more would be sent
than there are connections before the first of them is recorded.
"""

import asyncio
import contextlib
from collections.abc import Iterator


class UnrecordedOutcomes:
    """How many outcomes are being recorded. Each attempt waits for room before it sends."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._recorded = asyncio.Event()

    async def wait_for_room(self) -> None:
        """Until fewer than the limit are being recorded."""
        while self._count >= self._limit:
            self._recorded.clear()
            await self._recorded.wait()

    @contextlib.contextmanager
    def count(self, outcomes: int) -> Iterator[None]:
        """So many are being recorded meanwhile."""
        self._count += outcomes
        try:
            yield
        finally:
            self._count -= outcomes
            self._recorded.set()
