"""Facts on their way to the store, behind the answers that they come from.

In: facts, at once and without waiting.  Out: commits of what has gathered, one at a time, with a pause between them
in which more can gather: a delivery is judged once a commit. While the database does
not answer, everything goes straight to the journal, and the database is tried again every few seconds. While the
disk takes nothing either, facts wait in memory, up to a limit.
"""

import asyncio
import time
from collections import deque
from typing import Any

from relay import log
from relay.store.database import errors
from relay.store.store import DatabaseUnavailableError, Store

MOST_WAITING = 50_000  # facts in memory, some 50 MB; reached only when neither database nor disk takes them
_TOGETHER = 500
_AWAY_S = 2.0  # how long the database is left alone when it did not answer
_NO_DISK_S = 1.0
# Measured at 220 hits a second: commits without a pause keep one core busy, and redirects wait for it.
_GATHER_S = 0.05
_LAST_TRIES_S = 5.0  # at the end, for what no disk has taken yet

_HINTS = ("sight",)  # not worth a journal
Fact = tuple[str, Any]  # Any: the value's type follows from the name (relay.store.store.FACTS)


class Outbox:
    """One process's facts that are not written down yet."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: deque[Fact] = deque()
        self._sending: asyncio.Task[None] | None = None
        self._away_until = 0.0
        self._one_by_one = 0  # facts among which one fails by itself
        self._closing_at: float | None = None

    def put(self, name: str, value: object) -> None:
        """Takes a fact, in order. What nothing can take any more is lost, and the log says so."""
        if len(self._waiting) >= MOST_WAITING:
            log.fact_lost(name, "neither database nor journal takes anything, and the memory for it is full")
            return
        self._waiting.append((name, value))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())

    async def settled(self) -> None:
        """Waits until every fact so far is on disk."""
        self._closing_at = time.monotonic() + _LAST_TRIES_S
        while self._sending is not None:
            await self._sending

    async def _send(self) -> None:
        try:
            while self._waiting:
                most = 1 if self._one_by_one else _TOGETHER
                self._one_by_one = max(0, self._one_by_one - 1)
                batch = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
                try:
                    await self._keep(batch)
                except Exception as error:  # noqa: BLE001  the task's outermost frame: nobody waits for it
                    if await self._is_hopeless(batch, error):
                        continue
                    self._waiting.extendleft(reversed(batch))
                if self._closing_at is None and not self._one_by_one:
                    await asyncio.sleep(_GATHER_S)
        finally:
            self._sending = None

    async def _is_hopeless(self, batch: list[Fact], error: Exception) -> bool:
        """True if the batch is not to be tried again. Of several facts that fail together each is tried by itself."""
        name = batch[0][0]
        if not errors.is_database_fault(error):
            if len(batch) > 1:
                self._one_by_one = len(batch)
                return False
            log.fault("fact", name)
            log.fact_lost(name, "it can be written neither into the database nor into the journal")
            return True
        if self._closing_at and time.monotonic() > self._closing_at:
            log.fact_lost(f"{len(batch)} facts", errors.describe_error(error))
            return True
        log.fact_waiting(name, errors.describe_error(error))
        await asyncio.sleep(_NO_DISK_S)
        return False

    async def _keep(self, batch: list[Fact]) -> None:
        if time.monotonic() >= self._away_until:
            try:
                batch = await self._store.commit_facts(batch)
            except DatabaseUnavailableError:
                self._away_until = time.monotonic() + _AWAY_S
        await self._store.append_to_journal([fact for fact in batch if fact[0] not in _HINTS])
