"""Works on the queue: leases what is due, has it attempted, records the outcomes."""

import asyncio
import contextlib
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from relay import ids, log
from relay.address import Mailbox
from relay.delivery import schedule
from relay.delivery.clock_step import ClockStepDetector
from relay.delivery.dispatch import Attempts, Dispatcher, LoadedMessage, PendingRecipient
from relay.delivery.memory_budget import MemoryBudget
from relay.delivery.smtp.negotiation import LeaseLostError
from relay.envelope import Recipient
from relay.rewrite.plan import Plan
from relay.store.database import errors
from relay.store.database.tables import Delivery, Message
from relay.store.queue import deliveries as queue
from relay.store.queue import leases, unstorable_results
from relay.store.queue.deliveries import Outcome
from relay.store.store import OutcomesFact, Store

LEASE = timedelta(minutes=3)  # renewed while the attempt lasts: it is only how long a lost machine is waited for
_RENEW_S = 60.0
_LEASE_MARGIN = timedelta(minutes=1)  # before a lease ends it is no longer relied on
_POLL_S = 1.0
_PUT_OFF = timedelta(seconds=5)
_EXPIRY_SCAN_RATIO = 20  # times as long as a look for what has expired takes
_MAX_IN_FLIGHT = 128  # deliveries
_MAX_OF_ONE_STREAM = 64  # of these: a mailing to a server that hangs leaves room for everybody else


def name(pid: int) -> str:
    """How the name of a worker with that process id begins."""
    return f"{socket.gethostname()}/{pid}/"


class QueueWorker:
    """Works on the queue for one process. Several may run at once, on several machines."""

    def __init__(
        self,
        store: Store,
        dispatcher: Dispatcher,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.name = name(os.getpid()) + ids.new()
        self._store = store
        self._dispatcher = dispatcher
        self._now = now
        self._woken = asyncio.Event()
        self._tasks: dict[asyncio.Task[None], list[Delivery]] = {}
        self._held: Counter[leases.DeliveryKey] = Counter()  # deliveries that are under way under a lease
        self._renewed_at: tuple[float, datetime] = time.monotonic(), now()  # by both clocks: the last time it succeeded
        self._lost: set[leases.DeliveryKey] = set()
        self._renewing = asyncio.Lock()
        dispatcher.check_lease = self.check_lease
        self._put_off: set[leases.DeliveryKey] = set()  # leased, and not begun
        self._memory_budget = MemoryBudget()
        self._logged_in: set[str] = set()
        self._newest_first = False
        self._clock_step = ClockStepDetector(now, time.monotonic)
        self._leases_trusted_from_s = 0.0
        self._looks_for_expired_at_s = 0.0
        self._is_stopping = self._has_drained = False
        self._has_ended = asyncio.Event()

    def wake(self) -> None:
        """Something is due."""
        self._woken.set()

    def resume(self, login: str) -> None:
        """That user's credentials are known again: what waits for them is due."""
        self._logged_in.add(login)
        self.wake()

    async def run(self) -> None:
        """Works until `drain`."""
        while not self._is_stopping:
            try:
                await self._check_clock_step()
                leased = await self._lease_undecided()
            except Exception as error:  # noqa: BLE001  the outermost loop: the queue is worked on whatever happens
                errors.log_failure(error, "queue")
                leased = {}
            if self._has_drained:
                return
            for message, deliveries in leased.items():
                task = asyncio.create_task(self._work(message, deliveries))
                self._tasks[task] = deliveries
                task.add_done_callback(self._done)
            if self._dispatcher.is_out:
                await asyncio.sleep(_POLL_S)
            elif not leased:
                self._woken.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), _POLL_S)
        self._has_ended.set()

    async def _lease(self) -> dict[str, list[Delivery]]:
        if logins := frozenset(self._logged_in):
            await self._store.write(lambda connection: queue.resume_waiting_for_login(connection, self._now(), logins))
            self._logged_in -= logins
        if put_off := frozenset(self._put_off):
            until = self._now() + _PUT_OFF
            await self._store.write(lambda connection: leases.shorten_leases(connection, self.name, put_off, until))
            self._put_off -= put_off
        under_way = [row for deliveries in self._tasks.values() for row in deliveries]
        now = self._now()
        self._newest_first = newest_first = not self._newest_first
        leases_trusted = time.monotonic() >= self._leases_trusted_from_s
        clock = leases.LeaseClock(now, now if leases_trusted else datetime.fromtimestamp(0, UTC))
        if expired := await self._lease_expired(clock, _MAX_IN_FLIGHT - len(under_way)):
            return expired
        # While everything is out only one a second is looked at: a long queue would write down again and again that
        # it waits. The rest stays due, and goes as soon as a probe succeeds.
        room = (1 if self._dispatcher.is_out else _MAX_IN_FLIGHT) - len(under_way)
        if room <= 0 or not await self._store.read(lambda connection: leases.has_due(connection, clock)):
            return {}
        return await self._store.write(
            lambda connection: leases.lease_due(
                connection,
                clock,
                now + LEASE,
                self.name,
                room,
                stream_limit=_MAX_OF_ONE_STREAM,
                held_by_stream=Counter(row.stream for row in under_way),
                with_suspect=not any(row.crashes for row in under_way),
                newest_first=newest_first,
            ),
            begins_commit=True,
        )

    async def _lease_undecided(self) -> dict[str, list[Delivery]]:
        """Leases what no journal knows the end of: after a long outage a lease may lapse before the journal is
        replayed, and that mail would be sent again. It is asked before, for what is replayed meanwhile, and after."""
        results = await self._store.find_journaled("settled")
        leased = await self._lease()
        if not leased:
            return {}
        results += await self._store.find_journaled("settled")
        decided = {message for message in leased if any(message.encode() in line for line in results)}
        for message in decided:
            self._put_off.update(leases.DeliveryKey(message, one.number) for one in leased.pop(message))
        return leased

    async def _lease_expired(self, clock: leases.LeaseClock, room: int) -> dict[str, list[Delivery]]:
        """What is past its time ends at that time, though its turn does not come while the upstreams are out."""
        started = time.monotonic()
        if room <= 0 or started < self._looks_for_expired_at_s:
            return {}
        if not await self._store.read(lambda connection: leases.has_expired(connection, clock)):
            # All that is due is looked at, which may be a million: for a part of the time.
            self._looks_for_expired_at_s = time.monotonic() + max(
                _POLL_S, _EXPIRY_SCAN_RATIO * (time.monotonic() - started)
            )
            return {}
        until = clock.now + LEASE
        return await self._store.write(
            lambda connection: leases.lease_expired(connection, clock, until, self.name, room)
        )

    async def _check_clock_step(self) -> None:
        """A clock that was set makes leases lapse that are held, and puts what is due off."""
        if not (step := self._clock_step.step()):
            return
        log.clock_set(step.total_seconds())
        self._leases_trusted_from_s = time.monotonic() + LEASE.total_seconds()  # by then all that live have renewed
        if step < timedelta():
            await self._store.write(lambda connection: leases.shift_due_times(connection, step))

    async def renew(self) -> None:
        """Holds on to the leases of what is under way. Never returns."""
        while True:
            await asyncio.sleep(_RENEW_S)
            try:
                async with self._renewing:
                    await self._renew()
            except Exception as error:  # noqa: BLE001  the outermost loop: the next round may go better
                errors.log_failure(error, "leases")  # with the database away nobody else can lease either

    async def _renew(self) -> None:
        at, spots = (time.monotonic(), self._now()), set(self._held)
        messages = {spot.message for spot in spots}

        def renew(connection: sa.Connection) -> set[leases.DeliveryKey]:
            leases.renew_leases(connection, self.name, messages, at[1] + LEASE)
            return leases.find_lost_leases(connection, self.name, spots)

        self._lost = await self._store.write(renew)
        self._renewed_at = at

    async def check_lease(self, message: str, numbers: Sequence[int]) -> None:
        """Raises LeaseLostError if a process that was stopped meanwhile has lost one of these to another.

        Costs two looks at a clock, unless no renewal has succeeded for most of a lease. A suspended machine is seen by
        the clock that goes on, a clock that was set back by the other one.
        """
        spots = [leases.DeliveryKey(message, number) for number in numbers]
        if not any(spot in self._held for spot in spots):
            return  # its client waits, and nobody else knows of it
        if self._is_stale():
            async with self._renewing:
                if self._is_stale():
                    try:
                        await self._renew()
                    except sa.exc.SQLAlchemyError as error:
                        errors.log_failure(error, "leases", message)
                        raise LeaseLostError from error  # who holds it cannot be known: it is tried later
        if any(spot in self._lost for spot in spots):
            raise LeaseLostError

    def _is_stale(self) -> bool:
        elapsed_s, at = self._renewed_at
        passed_s = max(time.monotonic() - elapsed_s, (self._now() - at).total_seconds())
        return passed_s > (LEASE - _LEASE_MARGIN).total_seconds()

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        self._woken.set()  # there is room again

    @contextlib.contextmanager
    def holding(self, message: str, numbers: Iterable[int]) -> Iterator[None]:
        """Their leases are renewed meanwhile."""
        spots = [leases.DeliveryKey(message, number) for number in numbers]
        self._held.update(spots)
        try:
            yield
        finally:
            for spot in spots:
                self._held[spot] -= 1
                if not self._held[spot]:
                    del self._held[spot]
                    self._lost.discard(spot)

    async def _work(self, message: str, deliveries: list[Delivery]) -> None:
        try:
            with self.holding(message, [one.number for one in deliveries]):
                row = await self._store.read(lambda connection: queue.find_message(connection, message))
                async with self._memory_budget.reserve(row.size_octets if row else 0):
                    attempts = await self._start(row, deliveries)
                    await self.record_attempts(message, attempts)
        except Exception as error:  # noqa: BLE001  the outermost loop: the lease lapses, the mail stays
            errors.log_failure(error, "delivery", message)
            if errors.is_database_fault(error):  # nothing was begun
                self._put_off.update(leases.DeliveryKey(message, one.number) for one in deliveries)

    async def record_attempts(self, message: str, attempts: Attempts) -> None:
        """Records the outcomes of each attempt when it ends, so that only what is in flight can be repeated.

        Call it while `holding` their deliveries."""
        try:
            await self._record(message, attempts.decided)
            for ended in asyncio.as_completed(attempts.under_way):
                try:
                    outcomes = await ended
                except Exception:  # noqa: BLE001  this one is tried again; what the others did is still to be written
                    log.fault("attempt", message)
                    continue
                await self._record(message, outcomes)
        finally:
            attempts.cancel()  # nothing for those that have ended; the others must not arrive unwritten

    async def _record(self, message: str, outcomes: list[Outcome]) -> None:
        result = OutcomesFact(message, outcomes, self.name)
        is_storable = True
        while outcomes:  # until the result is stored: otherwise the mail would be delivered twice
            try:
                if is_storable:
                    await self._store.record("settled", result)
                else:
                    await self._store.write(
                        lambda connection: unstorable_results.record_without_reply_text(connection, *result)
                    )
                return
            except Exception as error:  # noqa: BLE001  whatever it is, the mail must not go out again
                if is_storable and not errors.is_database_fault(error):
                    log.fault("settled", message)
                    is_storable = False
                    continue
                log.unwritten("settled", errors.describe_error(error))
                await asyncio.sleep(_POLL_S)

    async def _start(self, row: Message | None, deliveries: list[Delivery]) -> Attempts:
        def load(connection: sa.Connection) -> LoadedMessage | None:
            kept = queue.find_content(connection, row.id) if row else None
            return LoadedMessage(row, Plan.from_json(row.plan), kept) if row and kept is not None else None

        loaded = await self._store.read(load)  # on a thread, the plan of a large message as well
        if loaded is None:
            now = self._now()
            return Attempts(
                [schedule.expired(number=one.number, recipient=one.recipient, now=now) for one in deliveries], []
            )
        targets = [
            PendingRecipient(one.number, Recipient(Mailbox(one.recipient), one.notify, one.orcpt), one.attempts)
            for one in deliveries
        ]
        return await self._dispatcher.start_attempts(loaded, targets)

    async def drain(self, at_most_s: float) -> None:
        """Leases no more, waits for attempts under way, and ends those that last longer. Call it while `run` runs."""
        self._is_stopping = True
        self._woken.set()
        with contextlib.suppress(TimeoutError):  # a database that hangs is not waited for
            await asyncio.wait_for(self._has_ended.wait(), at_most_s)
        self._has_drained = True
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=at_most_s)
        for task in set(self._tasks):  # what has ended is written down; what has not goes back
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def release_leases(self) -> None:
        """Releases every lease that is left."""
        try:
            await self._store.writer.write_with_timeout(lambda connection: leases.release_leases(connection, self.name))
        except (TimeoutError, sa.exc.SQLAlchemyError) as error:
            errors.log_failure(error, "leases")  # the next start gives them back
