"""Work on the queue: lease deliveries that are due, have them attempted, record the outcomes."""

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

import sqlalchemy as sa

from relay import ids, log, timed_wait
from relay.address import Mailbox
from relay.delivery import outcomes
from relay.delivery.attempts import Attempts, LoadedMessage, PendingRecipient
from relay.delivery.dispatch import Dispatcher
from relay.delivery.due_deliveries import DueDeliveries, Room
from relay.delivery.lease_renewal import LeaseRenewal
from relay.delivery.memory_budget import MemoryBudget
from relay.delivery.unrecorded_outcomes import UnrecordedOutcomes
from relay.envelope import Recipient
from relay.rewrite.plan import Plan
from relay.store.database import errors
from relay.store.database.rows import Delivery, Message
from relay.store.queue import deliveries as queue
from relay.store.queue import leases, unstorable_results
from relay.store.queue.queue_facts import Outcome, OutcomesFact
from relay.store.store import Store

_POLL_S = 1.0
_MAX_IN_FLIGHT = 128  # deliveries
_MAX_OF_ONE_STREAM = 64  # of these: a mailing to a server that hangs leaves room for everybody else
_MAX_OCTETS_FROM_MEMORY = 32 << 20  # of mail that was just stored and is attempted as it is in memory


def worker_name(store: Store, pid: int) -> str:
    """How the name of a worker with that process id begins."""
    return f"{store.node_name}{pid}/"


class QueueWorker:
    """Works on the queue for one process. Several may run at once, on several machines."""

    def __init__(
        self,
        store: Store,
        dispatcher: Dispatcher,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        max_unrecorded: int,
    ) -> None:
        self.name = worker_name(store, os.getpid()) + ids.new()
        self._store = store
        self._dispatcher = dispatcher
        self._now = now
        self._wake_event = asyncio.Event()
        self._tasks: dict[asyncio.Task[None], list[Delivery]] = {}
        self._by_stream: Counter[str] = Counter()  # deliveries of these tasks
        self.lease_renewal = LeaseRenewal(store, self.name, now)
        dispatcher.check_lease = self._check_before_sending
        self._due = DueDeliveries(store, self.name, self.lease_renewal, now)
        self._unrecorded = UnrecordedOutcomes(max_unrecorded)
        self._memory_budget = MemoryBudget()
        self._octets_from_memory = 0
        self._waits_for_room = True
        self._is_stopping = self._has_drained = False
        self._has_ended = asyncio.Event()

    def wake(self) -> None:
        """Looks at the queue at once: something is due."""
        self._wake_event.set()

    def resume(self, login: str) -> None:
        """That user's credentials are known again: the deliveries that wait for them are due."""
        self._due.resume(login)
        self.wake()

    async def run(self) -> None:
        """Works until `drain`."""
        while not self._is_stopping:
            self._wake_event.clear()  # before the look: what is due after it wakes this again
            under_way = [row for deliveries in self._tasks.values() for row in deliveries]
            # While every upstream is down only one delivery a second is leased: a long queue would record again and
            # again that it waits. The rest stays due, and is sent as soon as a probe succeeds.
            room = (1 if self._dispatcher.is_down else _MAX_IN_FLIGHT) - len(under_way)
            has_suspect = any(row.crashes for row in under_way)
            # A look at the queue after each delivery would cost as much as the delivery.
            self._waits_for_room = room <= _MAX_IN_FLIGHT // 2 or has_suspect
            try:
                leased = await self._due.lease(
                    Room(room, _MAX_IN_FLIGHT - len(under_way), _MAX_OF_ONE_STREAM, self._by_stream, has_suspect)
                )
            except Exception as error:  # noqa: BLE001  the outermost loop: the queue is worked on whatever happens
                errors.log_failure(error, "queue")
                leased = {}
            if self._has_drained:
                return
            for message, deliveries in leased.items():
                self._add_task(asyncio.create_task(self._work(message, deliveries)), deliveries)
            if self._dispatcher.is_down:
                await asyncio.sleep(_POLL_S)
            elif not leased:
                poll_s = _POLL_S if self._due.has_put_off else await self._store.poll_s(_POLL_S, leases.has_waiting)
                await timed_wait.wait_until_set(self._wake_event, poll_s)
        self._has_ended.set()

    def _add_task(self, task: asyncio.Task[None], deliveries: list[Delivery]) -> None:
        self._tasks[task] = deliveries
        for row in deliveries:
            self._by_stream[row.stream] += 1
        task.add_done_callback(self._remove_task)

    def _remove_task(self, task: asyncio.Task[None]) -> None:
        for row in self._tasks.pop(task):
            self._by_stream[row.stream] -= 1
            if not self._by_stream[row.stream]:
                del self._by_stream[row.stream]
        if self._waits_for_room:
            self._wake_event.set()

    async def _work(self, message: str, deliveries: list[Delivery]) -> None:
        async def start() -> Attempts:
            row = await self._store.read(lambda connection: queue.find_message(connection, message))
            await reserved.enter_async_context(self._memory_budget.reserve(row.size_octets if row else 0))
            return await self._start_attempts(row, deliveries)

        async with contextlib.AsyncExitStack() as reserved:
            await self._attempt(message, deliveries, start)

    async def _attempt(
        self, message: str, deliveries: list[Delivery], start: Callable[[], Awaitable[Attempts]]
    ) -> None:
        """Attempts the deliveries under their lease, and records the outcomes."""
        keys = self.lease_renewal.begin(message, [one.number for one in deliveries])
        try:
            await self.record_attempts(message, await start())
        except Exception as error:  # noqa: BLE001  the outermost loop: the lease lapses, the mail stays
            errors.log_failure(error, "delivery", message)
            if errors.is_database_fault(error):  # nothing was begun
                self._due.put_off(keys)
        finally:
            self.lease_renewal.end(keys)

    def has_room(self, stream: str, deliveries: int, octets: int) -> bool:
        """True if so many deliveries of a new message can be attempted at once, as they are in memory."""
        if self._is_stopping or self._dispatcher.is_down or not self._due.are_leases_trusted:
            return False
        return (
            self._by_stream.total() + deliveries <= _MAX_IN_FLIGHT
            and self._by_stream[stream] + deliveries <= _MAX_OF_ONE_STREAM
            and self._octets_from_memory + octets <= _MAX_OCTETS_FROM_MEMORY
        )

    def deliver(self, loaded: LoadedMessage, deliveries: list[Delivery]) -> None:
        """Attempts a message that has just been stored, leased to this worker: nothing of it is read back."""
        self._add_task(asyncio.create_task(self._work_from_memory(loaded, deliveries)), deliveries)

    async def _work_from_memory(self, loaded: LoadedMessage, deliveries: list[Delivery]) -> None:
        self._octets_from_memory += len(loaded.octets)
        try:
            await self._attempt(loaded.message.id, deliveries, lambda: self._start(loaded, deliveries))
        finally:
            self._octets_from_memory -= len(loaded.octets)

    async def record_attempts(self, message: str, attempts: Attempts) -> None:
        """Records the outcomes of each attempt when it ends, so that only what is in flight can be repeated.

        Call it within `lease_renewal.renewing` of their deliveries."""
        try:
            await self._record(message, attempts.outcomes)
            ending = attempts.tasks if len(attempts.tasks) == 1 else asyncio.as_completed(attempts.tasks)
            for task in ending:
                try:
                    results = await task
                except Exception:  # noqa: BLE001  this one is tried again; the outcomes of the others must be recorded
                    log.fault("attempt", message)
                    continue
                await self._record(message, results)
        finally:
            attempts.cancel()  # those under way must not be delivered without a record

    async def _check_before_sending(self, message: str, numbers: Sequence[int]) -> None:
        await self._unrecorded.wait_for_room()
        await self.lease_renewal.check(message, numbers)

    async def _record(self, message: str, results: list[Outcome]) -> None:
        result = OutcomesFact(message, results, self.name)
        is_storable = True
        with self._unrecorded.count(len(results)):
            while results:  # until the result is stored: otherwise the mail would be delivered twice
                try:
                    if is_storable:
                        await self._store.record("outcomes", result)
                    else:
                        await self._store.write(
                            lambda connection: unstorable_results.record_without_reply_text(connection, *result)
                        )
                    return
                except Exception as error:  # noqa: BLE001  whatever it is, the mail must not go out again
                    if is_storable and not errors.is_database_fault(error):
                        log.fault("outcomes", message)
                        is_storable = False
                        continue
                    log.fact_waiting("outcomes", errors.describe_error(error))
                    await asyncio.sleep(_POLL_S)

    async def _start_attempts(self, row: Message | None, deliveries: list[Delivery]) -> Attempts:
        def load(connection: sa.Connection) -> LoadedMessage | None:
            octets = queue.find_content(connection, row.id) if row else None
            return LoadedMessage(row, Plan.from_json(row.plan), octets) if row and octets is not None else None

        loaded = await self._store.read(load)  # on a thread, the plan of a large message as well
        if loaded is None:
            now = self._now()
            return Attempts(
                [outcomes.make_expired(number=one.number, recipient=one.recipient, now=now) for one in deliveries], []
            )
        return await self._start(loaded, deliveries)

    async def _start(self, loaded: LoadedMessage, deliveries: list[Delivery]) -> Attempts:
        targets = [
            PendingRecipient(one.number, Recipient(Mailbox(one.recipient), one.notify, one.orcpt), one.attempts)
            for one in deliveries
        ]
        return await self._dispatcher.start_attempts(loaded, targets)

    async def drain(self, limit_s: float) -> None:
        """Leases no more, waits for attempts under way, and ends those that last longer. Call it while `run` runs."""
        self._is_stopping = True
        self._wake_event.set()
        await timed_wait.wait_until_set(self._has_ended, limit_s)  # a database that hangs is not waited for
        self._has_drained = True
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=limit_s)
        for task in set(self._tasks):  # outcomes are recorded as attempts end; the rest returns to the queue
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def release_leases(self) -> None:
        """Releases every lease that is left."""
        try:
            await self._store.writer.write_with_timeout(lambda connection: leases.release_leases(connection, self.name))
        except (TimeoutError, sa.exc.SQLAlchemyError) as error:
            errors.log_failure(error, "leases")  # the next start gives them back
