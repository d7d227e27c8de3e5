"""One upstream: whether it is tried now, and the result of each attempt.

In: a mail.  Out: a result for each of its recipients. An upstream has a pool of connections, a circuit breaker and a
rate limit.
"""

import asyncio
import random
import time
from contextvars import Context
from datetime import UTC, datetime
from typing import NamedTuple

from relay import address, log, metrics
from relay.bounce.classify import Phase
from relay.config import smtp
from relay.delivery.smtp import transaction
from relay.delivery.smtp.attempt_result import AttemptResult
from relay.delivery.smtp.breaker import Breaker
from relay.delivery.smtp.connect import Connector, UnreachableError
from relay.delivery.smtp.negotiation import OutgoingMail
from relay.delivery.smtp.pool import Pool, PooledConnection, PoolLimits
from relay.delivery.smtp.rate_limit import RateLimiter
from relay.delivery.smtp.stalled_connections import Slot, Slots
from relay.delivery.smtp.transaction import TransactionBrokenError
from relay.envelope import Login
from relay.reply import Reply

# Together shorter than a lease: a mail that waits longer is deferred and tried again.
MAX_WAIT_S = 240.0  # for a connection, or a turn of the rate limit
MAX_TRANSACTION_S = 1200.0
_TRIAL_S = 10.0  # an upstream that stalled has so long for the one mail that shows whether it works again
_WARN_AGAIN_S = 60.0
_PROBE_S = 15.0  # for the first probe that hangs, twice as long for each after it


class UpstreamStatus(NamedTuple):
    """The state of an upstream. `fault` and `down_since` describe the outage while it is down."""

    name: str
    is_down: bool
    down_since: datetime | None
    fault: str
    in_use: int
    idle: int
    waiting: int  # mails that wait for a slot
    connected_at: datetime | None  # when a connection was last opened


class UpstreamBusyError(Exception):
    """No connection or turn became free in time. That is no fault of the upstream."""


class Upstream:
    """One `[[upstream]]`. With several mail processes on a machine each has a share of its connections and rate."""

    def __init__(self, settings: smtp.UpstreamConfig, hostname: str, processes: int = 1) -> None:
        self.name = settings.name
        self._senders = settings.senders
        limits = PoolLimits(
            max(1, settings.connections // processes),
            settings.idle.total_seconds(),
            settings.age.total_seconds(),
            settings.messages,
        )
        self._max_connections = limits.connections
        self._pool = Pool(limits, Connector(settings, hostname).connect)
        self._breaker = Breaker(settings.outages)
        self._rate, self._processes = settings.rate, processes
        self._rate_limiter = RateLimiter(settings.rate / processes)
        self._connected_at: datetime | None = None  # when a connection was last opened
        self._waiting = 0
        self._wait_timeouts: set[asyncio.Timeout] = set()  # of mails that wait for a slot
        self._slots = Slots(limits.connections)
        self._stall_s = settings.stall_timeout.total_seconds()
        self._is_on_trial = False  # it stalled and answers new connections: one mail shows whether it works again
        self._stall_watch: asyncio.Task[None] | None = None
        self._probe_task: asyncio.Task[None] | None = None

    def serves(self, reverse_path: str) -> bool:
        """True if mail with that reverse-path goes here (`senders`)."""
        return address.matches_any(reverse_path, self._senders)

    @property
    def is_down(self) -> bool:
        return self._breaker.open_since is not None

    @property
    def status(self) -> UpstreamStatus:
        breaker, waiting, connected_at = self._breaker, self._waiting, self._connected_at
        outage = (breaker.is_open, breaker.open_since, breaker.fault)
        return UpstreamStatus(self.name, *outage, *self._pool.counts, waiting, connected_at)

    async def send(self, mail: OutgoingMail) -> list[AttemptResult]:
        """Sends the mail; one result for each recipient, in their order. Raises UpstreamBusyError."""
        started = time.monotonic()
        try:
            slot = await self._take_slot(is_rate_limited=True)
            try:
                results = await self._send(mail, slot)
            finally:
                self._release_slot(slot)
            if self._is_on_trial and results[0].reply.code:
                self._replace_silent_slots()
        except UnreachableError as fault:
            result = AttemptResult(
                fault.phase, fault.reply, nothing_tried=fault.nothing_tried, conversation=fault.conversation
            )
            results = [result] * len(mail.recipients)
        took_ms = round((time.monotonic() - started) * 1000)
        return [result.from_upstream(self.name, took_ms) for result in results]

    async def probe(self) -> str:
        """Connects, with TLS and login, and sends nothing. Returns the fault, or an empty string."""
        try:
            await self._probe_once()
        except UnreachableError as fault:
            return str(fault)
        return ""

    async def try_login(self, login: Login) -> AttemptResult:
        """Logs in and keeps the connection open. The result has 235, or the failure and its phase. Raises
        UpstreamBusyError.

        An idle connection with exactly these credentials is proof enough: it is not older than `age`.
        """
        if not self._pool.has_idle(login):
            try:
                slot = await self._take_slot(is_rate_limited=False)
                try:
                    self._pool.give_back(await self._get_connection(login))
                finally:
                    self._release_slot(slot)
            except UnreachableError as fault:
                return AttemptResult(fault.phase, fault.reply, self.name)
        return AttemptResult(Phase.AUTH, Reply(235, "2.7.0", "authentication succeeded"), self.name)

    async def _take_slot(self, *, is_rate_limited: bool) -> Slot:
        """A slot for one connection, and a turn of the rate limit; `_release_slot` gives it back. Raises
        UnreachableError while the breaker is open, and UpstreamBusyError."""
        self._check_breaker()
        await self._wait_for_slot(is_rate_limited)
        slot = self._slots.take()
        try:
            self._check_breaker()  # it may have gone down meanwhile
        except UnreachableError:
            self._release_slot(slot)
            raise
        return slot

    def _release_slot(self, slot: Slot) -> None:
        if self._slots.release(slot):
            self._pool.slots.release()
        self._pool.extra_slots = self._slots.replaced_count

    async def _wait_for_slot(self, is_rate_limited: bool) -> None:
        slots, clock = self._pool.slots, asyncio.get_running_loop().time
        if not slots.take_free():
            self._waiting += 1
            try:
                await self._wait_for_free_slot()
            except TimeoutError:
                self._check_breaker()
                raise UpstreamBusyError("all connections are in use") from None
            finally:
                self._waiting -= 1
        try:
            if is_rate_limited and self._rate_limiter.is_limited:
                if self._rate_limiter.wait_s(clock()) > MAX_WAIT_S:
                    raise UpstreamBusyError("its rate is used up")
                if wait_s := self._rate_limiter.reserve(clock()):
                    await asyncio.sleep(wait_s)
        except BaseException:
            slots.release()
            raise

    async def _wait_for_free_slot(self) -> None:
        """All slots are taken. Raises TimeoutError after a while, and as soon as the upstream is down."""
        if self._stall_watch is None or self._stall_watch.done():
            self._stall_watch = asyncio.create_task(self._watch_for_stall(), context=Context())
        async with asyncio.timeout(MAX_WAIT_S) as timeout:
            self._wait_timeouts.add(timeout)
            try:
                await self._pool.slots.acquire()
            finally:
                self._wait_timeouts.discard(timeout)

    async def _watch_for_stall(self) -> None:
        """While mail waits for a slot: an upstream counts as down if nothing moves on any of its connections."""
        warned_at_s = float("-inf")
        while self._waiting:
            await asyncio.sleep(min(1.0, self._stall_s / 4))
            now_s = asyncio.get_running_loop().time()
            after_s = min(self._stall_s, _TRIAL_S) if self._is_on_trial else self._stall_s
            silent = self._slots.count_silent(now_s, after_s)
            if self._waiting and self._pool.slots.locked() and self._slots.silent_s(now_s) >= after_s:
                self._record_stall(f"mute for {after_s:g} s")
            elif silent * 2 >= self._max_connections and now_s - warned_at_s >= _WARN_AGAIN_S:
                warned_at_s = now_s
                log.upstream_slow(self.name, silent, self._max_connections, after_s)

    def share_rate(self, processes: int) -> None:
        """So many processes of all nodes send to this upstream: each has an equal share of its rate."""
        self._rate_limiter.change(self._rate / max(processes, self._processes))

    def apply_peer_outage(self, fault: str, since: datetime) -> None:
        """Another process found the upstream out. It counts as out here too, until a probe of our own succeeds. Its
        time stays `since`, so that no process takes its own outage for another one."""
        if (self._connected_at is None or since > self._connected_at) and self._breaker.open(fault, since):
            log.upstream_out(self.name, Phase.CONNECT, 0, "", f"found by another process: {fault}")
            metrics.upstream_down(self.name, True)
            self._begin_outage()

    def _record_stall(self, fault: str) -> None:
        if self._breaker.open(fault, datetime.now(UTC)):
            log.upstream_out(self.name, Phase.DOT, 0, "", fault)
            metrics.upstream_down(self.name, True)
            self._is_on_trial = True
            self._begin_outage()

    def _replace_silent_slots(self, limit: int | None = None) -> None:
        """Gives out new slots in place of the silent ones, which go on waiting for their replies."""
        now_s = asyncio.get_running_loop().time()
        after_s = min(self._stall_s, _TRIAL_S)
        for _ in range(self._slots.replace(now_s, after_s, self._max_connections if limit is None else limit)):
            self._pool.slots.release()
        self._pool.extra_slots = self._slots.replaced_count
        self._is_on_trial = limit is not None

    def _begin_outage(self) -> None:
        for timeout in self._wait_timeouts:  # those mails go to the next upstream, or back to the queue
            timeout.reschedule(asyncio.get_running_loop().time())
        self._probe_task = asyncio.create_task(self._probe_until_back(), context=Context())

    def _check_breaker(self) -> None:
        if self.is_down:
            reply = Reply(0, "", f"the upstream is out: {self._breaker.fault}"[:1000])
            raise UnreachableError(Phase.CONNECT, reply, nothing_tried=True)

    async def _send(self, mail: OutgoingMail, slot: Slot) -> list[AttemptResult]:
        fresh = False
        while True:
            connection = await self._get_connection(mail.login, fresh=fresh)
            slot.client = client = connection.client
            client.last_activity_s = now_s = asyncio.get_running_loop().time()  # it may have been idle for long
            client.deadline = now_s + MAX_TRANSACTION_S
            try:
                if mail.before_sending is not None:
                    await mail.before_sending()
                results = await transaction.send(client, mail)
            except TransactionBrokenError as broken:
                self._pool.discard(connection)
                if connection.is_reused and not broken.is_sent:
                    fresh = True  # it ended while it was idle: no attempt was made
                    continue
                return broken.results
            except BaseException:
                self._pool.discard(connection)
                raise
            was_reused = connection.is_reused
            self._pool.give_back(connection)
            if was_reused and any(
                result.reply.closes_connection and result.phase is not Phase.DOT for result in results
            ):
                fresh = True  # the server closed it while it was idle
                continue
            return results

    async def _get_connection(self, login: Login | None, *, fresh: bool = False) -> PooledConnection:
        """A connection; the breaker records whether it came about. Raises UnreachableError."""
        try:
            connection = await self._pool.acquire(login, fresh=fresh)
        except UnreachableError as fault:
            is_login = fault.phase is Phase.AUTH and fault.reply.is_permanent
            if login is None or not is_login:  # a client's own wrong password is no outage
                self._record_failure(fault, is_login=is_login)
            raise
        if not connection.is_reused:
            self._connected_at = datetime.now(UTC)
            if self._breaker.record_success():
                log.upstream_back(self.name)
                metrics.upstream_down(self.name, False)
        return connection

    def _record_failure(self, fault: UnreachableError, *, is_login: bool) -> None:
        if self._breaker.record_failure(str(fault), datetime.now(UTC), is_login=is_login):
            log.upstream_out(
                self.name, fault.phase, fault.reply.code, fault.reply.status, fault.reply.reason_without_reply
            )
            metrics.upstream_down(self.name, True)
            self._begin_outage()

    async def _probe_until_back(self) -> None:
        timeout_s = _PROBE_S
        while self._breaker.is_open:
            await asyncio.sleep(self._breaker.next_probe_s(random.random()))  # noqa: S311  not a secret
            try:
                # A probe that hangs proves nothing, and some servers take minutes to greet.
                async with asyncio.timeout(timeout_s):
                    await self._probe_once()
            except TimeoutError:
                timeout_s *= 2
            except UnreachableError:
                continue
            except Exception:  # noqa: BLE001  the outermost loop: an upstream that is never probed would stay down for ever
                log.fault("probe", self.name)

    async def _probe_once(self) -> None:
        self._pool.give_back(await self._get_connection(None, fresh=True))
        if self._is_on_trial:
            self._replace_silent_slots(limit=1)

    async def close(self) -> None:
        """Stops probing and quits every idle connection."""
        for task in filter(None, (self._probe_task, self._stall_watch)):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._pool.close()
