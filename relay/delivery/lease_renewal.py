"""Renew the leases of the deliveries that a process works on, and notice when one was lost.

In: a worker's name and the deliveries under way.  Out: renewed leases, or LeaseLostError before a mail is sent that
another process has taken over.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from relay.delivery.smtp.negotiation import LeaseLostError
from relay.store.database import errors
from relay.store.queue import leases
from relay.store.store import Store

LEASE = timedelta(minutes=3)  # renewed during an attempt: it only limits how long the rest waits for a lost machine
_RENEW_S = 60.0
_MARGIN = timedelta(minutes=1)  # before a lease ends it is not relied on any more


class LeaseRenewal:
    """The leases of one worker."""

    def __init__(self, store: Store, worker: str, now: Callable[[], datetime]) -> None:
        self._store = store
        self._worker = worker
        self._now = now
        self._under_way: Counter[leases.DeliveryKey] = Counter()
        self._lost: set[leases.DeliveryKey] = set()
        self._renewed_at: tuple[float, datetime] = time.monotonic(), now()  # by both clocks: the last success
        self._lock = asyncio.Lock()

    @contextlib.contextmanager
    def renew_meanwhile(self, message: str, numbers: Iterable[int]) -> Iterator[None]:
        """The leases of these deliveries are renewed meanwhile."""
        keys = self.begin(message, numbers)
        try:
            yield
        finally:
            self.end(keys)

    def begin(self, message: str, numbers: Iterable[int]) -> list[leases.DeliveryKey]:
        """The leases of these deliveries are renewed until `end`."""
        keys = [leases.DeliveryKey(message, number) for number in numbers]
        for key in keys:
            self._under_way[key] += 1
        return keys

    def end(self, keys: Iterable[leases.DeliveryKey]) -> None:
        for key in keys:
            count = self._under_way[key] - 1
            if count:
                self._under_way[key] = count
            else:
                del self._under_way[key]
                self._lost.discard(key)

    def is_under_way(self, key: leases.DeliveryKey) -> bool:
        """True from `begin` to `end`."""
        return key in self._under_way

    async def run(self) -> None:
        """Renews the leases of what is under way. Never returns."""
        while True:
            await asyncio.sleep(_RENEW_S)
            try:
                async with self._lock:
                    await self._renew()
            except Exception as error:  # noqa: BLE001  the outermost loop: the next round may succeed
                errors.log_failure(error, "leases")  # without the database no other process can lease either

    async def check(self, message: str, numbers: Sequence[int]) -> None:
        """Raises LeaseLostError if another process has taken over one of these deliveries.

        Costs two looks at a clock, unless no renewal has succeeded for most of a lease. A suspended machine is noticed
        by the clock that goes on, a clock that was set back by the other one.
        """
        if not self._under_way:
            return
        keys = [leases.DeliveryKey(message, number) for number in numbers]
        if self._under_way.keys().isdisjoint(keys):
            return  # its client waits, and no other process knows of it
        if self._is_stale():
            async with self._lock:
                if self._is_stale():
                    try:
                        await self._renew()
                    except sa.exc.SQLAlchemyError as error:
                        errors.log_failure(error, "leases", message)
                        raise LeaseLostError from error  # the holder is unknown: it is tried later
        if not self._lost.isdisjoint(keys):
            raise LeaseLostError

    async def _renew(self) -> None:
        at, keys = (time.monotonic(), self._now()), set(self._under_way)
        messages = {key.message for key in keys}

        def renew(connection: sa.Connection) -> set[leases.DeliveryKey]:
            leases.renew_leases(connection, self._worker, messages, at[1] + LEASE)
            return leases.find_lost_leases(connection, self._worker, keys)

        self._lost = await self._store.write(renew)
        self._renewed_at = at

    def _is_stale(self) -> bool:
        elapsed_s, at = self._renewed_at
        passed_s = max(time.monotonic() - elapsed_s, (self._now() - at).total_seconds())
        return passed_s > (LEASE - _MARGIN).total_seconds()
