"""Lease what is due in the queue, for one worker: as much as it has room for, and nothing that it works on already.

In: a worker's name, its room, the clock.  Out: leased deliveries, by message.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from relay import log
from relay.clock_step import ClockStepDetector
from relay.delivery.lease_renewal import LEASE, LeaseRenewal
from relay.store.database.rows import Delivery
from relay.store.queue import deliveries as queue
from relay.store.queue import leases
from relay.store.queue.leases import DeliveryKey, LeaseClock
from relay.store.store import Store

_LOOK_AGAIN_S = 1.0
_PUT_OFF = timedelta(seconds=5)
_EXPIRY_SCAN_RATIO = 20  # the pause after a look for expired mail, in times of that look's length


class Room(NamedTuple):
    """How many deliveries a worker can take."""

    deliveries: int
    expired: int  # of those that are only to expire
    of_one_stream: int  # together with its `held_by_stream`
    held_by_stream: Mapping[str, int]
    has_suspect: bool  # it works on one that was under way when a process died: no other such one beside it


class DueDeliveries:
    """What one worker takes from the queue."""

    def __init__(self, store: Store, worker: str, renewal: LeaseRenewal, now: Callable[[], datetime]) -> None:
        self._store = store
        self._worker = worker
        self._renewal = renewal
        self._now = now
        self._put_off: set[DeliveryKey] = set()  # leased, and not begun
        self._logged_in: set[str] = set()
        self._newest_first = False
        self._clock_step = ClockStepDetector(now, time.monotonic)
        self._leases_trusted_from_s = 0.0
        self._looks_for_expired_at_s = 0.0

    @property
    def are_leases_trusted(self) -> bool:
        """False after the clock was set, until all living workers have renewed their leases."""
        return time.monotonic() >= self._leases_trusted_from_s

    @property
    def has_put_off(self) -> bool:
        """True if leased deliveries are to be given back."""
        return bool(self._put_off)

    def put_off(self, keys: Iterable[DeliveryKey]) -> None:
        """These were leased and not begun: they are due again soon."""
        self._put_off.update(keys)

    def resume(self, login: str) -> None:
        """That user's credentials are known again: the deliveries that wait for them are due."""
        self._logged_in.add(login)

    async def lease(self, room: Room) -> dict[str, list[Delivery]]:
        """Leases due deliveries that have no outcome in a journal, and that are not under way here. Raises
        sqlalchemy.exc.SQLAlchemyError.

        After a long outage a lease may lapse before the journal is replayed, or while its attempt goes on, and that
        mail would be sent again. The journal is read before the leasing, because it may be replayed meanwhile, and
        after.
        """
        await self._check_clock_step()
        results = await self._store.find_journaled("outcomes")
        leased = self._without_under_way(await self._lease(room))
        if not leased:
            return {}
        results += await self._store.find_journaled("outcomes")
        decided = {message for message in leased if any(message.encode() in line for line in results)}
        for message in decided:
            self.put_off(DeliveryKey(message, one.number) for one in leased.pop(message))
        return leased

    def _without_under_way(self, leased: dict[str, list[Delivery]]) -> dict[str, list[Delivery]]:
        """Those that no attempt of this worker is about. The others are its own again, and are renewed from now on.

        An attempt that ends after the leasing is still under way here: its waiter is woken later than ours.
        """
        free = {
            message: [one for one in rows if not self._renewal.is_under_way(DeliveryKey(message, one.number))]
            for message, rows in leased.items()
        }
        return {message: rows for message, rows in free.items() if rows}

    async def _lease(self, room: Room) -> dict[str, list[Delivery]]:
        if logins := frozenset(self._logged_in):
            await self._store.write(lambda connection: queue.resume_waiting_for_login(connection, self._now(), logins))
            self._logged_in -= logins
        if put_off := frozenset(self._put_off):
            until = self._now() + _PUT_OFF
            await self._store.write(lambda connection: leases.shorten_leases(connection, self._worker, put_off, until))
            self._put_off -= put_off
        now = self._now()
        self._newest_first = newest_first = not self._newest_first
        clock = LeaseClock(now, now if self.are_leases_trusted else datetime.fromtimestamp(0, UTC))
        if expired := await self._lease_expired(clock, room.expired):
            return expired
        if room.deliveries <= 0 or not await self._store.read(lambda connection: leases.has_due(connection, clock)):
            return {}
        held_by_stream = dict(room.held_by_stream)
        return await self._store.write(
            lambda connection: leases.lease_due(
                connection,
                clock,
                now + LEASE,
                self._worker,
                room.deliveries,
                stream_limit=room.of_one_stream,
                held_by_stream=held_by_stream,
                with_suspect=not room.has_suspect,
                newest_first=newest_first,
            ),
            begins_commit=True,
        )

    async def _lease_expired(self, clock: LeaseClock, room: int) -> dict[str, list[Delivery]]:
        """Leases deliveries past their time, which expire even while the upstreams are down."""
        started = time.monotonic()
        if room <= 0 or started < self._looks_for_expired_at_s:
            return {}
        if not await self._store.read(lambda connection: leases.has_expired(connection, clock)):
            # The query reads all that is due, which may be a million rows: it gets a small part of the time.
            self._looks_for_expired_at_s = time.monotonic() + max(
                _LOOK_AGAIN_S, _EXPIRY_SCAN_RATIO * (time.monotonic() - started)
            )
            return {}
        until = clock.now + LEASE
        return await self._store.write(
            lambda connection: leases.lease_expired(connection, clock, until, self._worker, room), begins_commit=True
        )

    async def _check_clock_step(self) -> None:
        """When the clock was set: leases of living workers must not lapse, and due times move with the clock."""
        if not (step := self._clock_step.step()):
            return
        log.clock_set(step.total_seconds())
        self._leases_trusted_from_s = (
            time.monotonic() + LEASE.total_seconds()
        )  # by then all living workers have renewed
        if step < timedelta():
            await self._store.write(lambda connection: leases.shift_due_times(connection, step))
