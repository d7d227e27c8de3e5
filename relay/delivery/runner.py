"""The queue, worked off: leases what is due, has it attempted, writes down how it ended."""

import asyncio
import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from relay import ids, log
from relay.address import Mailbox
from relay.delivery import schedule
from relay.delivery.courier import Courier, Load, Stop, Trips
from relay.envelope import Recipient
from relay.rewrite.plan import Plan
from relay.store import queue
from relay.store.queue import Outcome
from relay.store.store import Settled, Store
from relay.store.tables import Delivery

LEASE = timedelta(minutes=30)  # longer than a transaction can last by RFC 5321 §4.5.3.2
_POLL_S = 1.0
_IN_FLIGHT = 64  # messages


def name(pid: int) -> str:
    """How the name of a worker with that process id begins."""
    return f"{socket.gethostname()}/{pid}/"


class Runner:
    """One process's hands on the queue."""

    def __init__(
        self,
        store: Store,
        courier: Courier,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.name = name(os.getpid()) + ids.new()
        self._store = store
        self._courier = courier
        self._now = now
        self._woken = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_stopping = False
        self._has_ended = asyncio.Event()

    def wake(self) -> None:
        """Something is due."""
        self._woken.set()

    async def run(self) -> None:
        """Works until `drain`."""
        while not self._is_stopping:
            try:
                leased = await self._lease()
            except Exception as error:  # noqa: BLE001  the outermost loop: the queue is worked on whatever happens
                log.unreadable(type(error).__name__)
                leased = {}
            for message, deliveries in leased.items():
                task = asyncio.create_task(self._work(message, deliveries))
                self._tasks.add(task)
                task.add_done_callback(self._done)
            if not leased:
                self._woken.clear()
                await _any_of(self._woken, _POLL_S)
        self._has_ended.set()

    async def _lease(self) -> dict[str, list[Delivery]]:
        room = _IN_FLIGHT - len(self._tasks)
        now = self._now()
        if room <= 0 or not await self._store.read(lambda session: queue.is_due(session, now)):
            return {}
        return await self._store.write(lambda session: queue.lease(session, now, now + LEASE, self.name, room))

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._woken.set()  # there is room again

    async def _work(self, message: str, deliveries: list[Delivery]) -> None:
        try:
            trips = await self._depart(message, deliveries)
            await self.settle(message, trips)
        except Exception:  # noqa: BLE001  the outermost loop: the lease lapses, the mail stays
            log.fault("runner", message)

    async def settle(self, message: str, trips: Trips) -> None:
        """Writes down how each trip ended when it ends, so that only what is in flight can be repeated."""
        try:
            await self._write_down(message, trips.decided)
            for ended in asyncio.as_completed(trips.under_way):
                await self._write_down(message, await ended)
        finally:
            trips.cancel()  # nothing for those that have ended; the others must not arrive unwritten

    async def _write_down(self, message: str, outcomes: list[Outcome]) -> None:
        if not outcomes:
            return
        try:
            await self._store.keep("settled", Settled(message, outcomes))
        except OSError as error:
            log.lost("settled", str(error))  # the lease lapses and the attempt is made again

    async def _depart(self, message: str, deliveries: list[Delivery]) -> Trips:
        fetched = await self._store.read(lambda session: queue.fetch(session, message))
        if fetched is None:
            now = self._now()
            return Trips(
                [schedule.expired(number=row.number, recipient=row.recipient, now=now) for row in deliveries], []
            )
        row, octets = fetched
        stops = [
            Stop(one.number, Recipient(Mailbox(one.recipient), one.notify, one.orcpt), one.attempts)
            for one in deliveries
        ]
        return await self._courier.depart(Load(row, Plan.from_json(row.plan), octets), stops)

    async def drain(self, at_most_s: float) -> None:
        """Leases no more, waits for attempts under way, and ends those that last longer. Call it while `run` runs."""
        self._is_stopping = True
        self._woken.set()
        await self._has_ended.wait()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=at_most_s)
        for task in set(self._tasks):  # what has ended is written down; what has not goes back
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def give_back(self) -> None:
        """Lets go of every lease that is left."""
        try:
            await self._store.write(lambda session: queue.release(session, self.name))
        except sa.exc.SQLAlchemyError as error:
            log.unreadable(type(error).__name__)  # the next start gives them back


async def _any_of(event: asyncio.Event, timeout_s: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except TimeoutError:
        return
