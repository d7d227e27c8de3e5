"""Upstreams: which server is whose, whether it is to be tried now, and what came of it.

In: a mail.  Out: an answer for each of its recipients, from the first upstream that serves its reverse-path
and can be spoken to. Behind each stand a pool of connections, a circuit breaker and a rate.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import NamedTuple

from relay import address, log
from relay.bounce.classify import Phase
from relay.config import smtp
from relay.delivery.schedule import Answer
from relay.delivery.smtp import transaction
from relay.delivery.smtp.breaker import Breaker
from relay.delivery.smtp.connect import Dialler, Unreachable
from relay.delivery.smtp.negotiation import Outgoing
from relay.delivery.smtp.pool import Connection, Limits, Pool
from relay.delivery.smtp.rate_limit import Pace
from relay.delivery.smtp.stalled_connections import Place, Places
from relay.delivery.smtp.transaction import Broken, Said
from relay.envelope import Login
from relay.reply import Reply

# Together shorter than a lease: what waits too long is told so and tried again later.
MOST_WAIT_S = 240.0  # for a connection, or a turn by the rate
MOST_S = 1200.0  # for a transaction
_TRIAL_S = 10.0  # an upstream that stalled has so long for the one mail that shows whether it is well
_SAY_AGAIN_S = 60.0
_PROBE_S = 15.0  # for the first probe that hangs, twice as long for each after it
_CLOSING = 421


class State(NamedTuple):
    """How an upstream is. `fault` and `since` are those of the outage, where it is out."""

    name: str
    is_out: bool
    since: datetime | None
    fault: str
    in_use: int
    kept: int
    waiting: int  # transactions that wait for a connection


class _Busy(Exception):
    """There was no connection or turn in time: ours to wait for, no fault of the upstream's."""


class Upstream:
    """One `[[upstream]]`. With several mail processes on a machine each has its share of connections and rate."""

    def __init__(self, settings: smtp.UpstreamConfig, hostname: str, processes: int = 1) -> None:
        self.name = settings.name
        self._senders = settings.senders
        limits = Limits(
            max(1, settings.connections // processes),
            settings.idle.total_seconds(),
            settings.age.total_seconds(),
            settings.messages,
        )
        self._limit = limits.connections
        self._pool = Pool(limits, Dialler(settings, hostname).dial)
        self._breaker = Breaker(settings.outages)
        self._pace = Pace(settings.rate / processes)
        self._waiting = 0
        self._patience: set[asyncio.Timeout] = set()  # of those that wait for a place
        self._places = Places(limits.connections)
        self._stall_s = settings.stall_timeout.total_seconds()
        self._is_on_trial = False  # it stalled, and answers new connections: one mail is to show whether it is well
        self._watching: asyncio.Task[None] | None = None
        self._probing: asyncio.Task[None] | None = None

    def serves(self, reverse_path: str) -> bool:
        """True if mail with that reverse-path goes here (`senders`)."""
        return address.matches_any(reverse_path, self._senders)

    @property
    def state(self) -> State:
        breaker = self._breaker
        return State(self.name, breaker.is_open, breaker.since, breaker.fault, *self._pool.counts, self._waiting)

    async def send(self, mail: Outgoing) -> list[Answer]:
        """Hands the mail over; one answer for each recipient, in their order. Raises _Busy."""
        started, is_known = time.monotonic(), False
        try:
            async with self._place(paced=True) as place:
                said = await self._send(mail, place)
            if self._is_on_trial and said[0].reply.code:
                self._replace_mute_places()
        except Unreachable as fault:
            said, is_known = [Said(fault.phase, fault.reply)] * len(mail.recipients), fault.is_known
        took_ms = round((time.monotonic() - started) * 1000)
        return [Answer(self.name, one.phase, one.reply, took_ms, one.uncertain, one.tells, is_known) for one in said]

    async def probe(self) -> str:
        """Connects, with TLS and login, and sends nothing. Returns the fault, or nothing where all is well."""
        try:
            await self._knock()
        except Unreachable as fault:
            return str(fault)
        return ""

    async def try_login(self, login: Login) -> Answer:
        """Logs in and keeps the connection. 235, or what was said instead and in which phase. Raises _Busy.

        A connection that is kept with those very credentials says as much: it is not older than `age`.
        """
        if not self._pool.has(login):
            try:
                async with self._place(paced=False):
                    self._pool.put(await self._take(login))
            except Unreachable as fault:
                return Answer(self.name, fault.phase, fault.reply, 0)
        return Answer(self.name, Phase.AUTH, Reply(235, "2.7.0", "authentication succeeded"), 0)

    @asynccontextmanager
    async def _place(self, *, paced: bool) -> AsyncIterator[Place]:
        """A place for one connection, and a turn by the rate. Raises Unreachable while the breaker is open."""
        self._refuse_while_out()
        await self._wait_for_place(paced)
        place = self._places.take()
        try:
            self._refuse_while_out()  # it may have gone out meanwhile
            yield place
        finally:
            if self._places.leave(place):
                self._pool.room.release()
            self._pool.extra = self._places.replaced

    async def _wait_for_place(self, paced: bool) -> None:
        room, clock = self._pool.room, asyncio.get_running_loop().time
        self._waiting += 1
        try:
            if not room.locked():
                await room.acquire()
            else:
                await self._wait_for_room()
        except TimeoutError:
            self._refuse_while_out()
            raise _Busy("all connections are in use") from None
        finally:
            self._waiting -= 1
        try:
            if paced and self._pace.wait_s(clock()) > MOST_WAIT_S:
                raise _Busy("its rate is used up")
            if paced and (wait_s := self._pace.take(clock())):
                await asyncio.sleep(wait_s)
        except BaseException:
            room.release()
            raise

    async def _wait_for_room(self) -> None:
        """All places are taken. Raises TimeoutError after a while, and as soon as the upstream is out."""
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch_for_stall())
        async with asyncio.timeout(MOST_WAIT_S) as patience:
            self._patience.add(patience)
            try:
                await self._pool.room.acquire()
            finally:
                self._patience.discard(patience)

    async def _watch_for_stall(self) -> None:
        """While mail waits for a place: an upstream on all of whose connections nothing moves counts as out."""
        said_at_s = float("-inf")
        while self._waiting:
            await asyncio.sleep(min(1.0, self._stall_s / 4))
            now_s = asyncio.get_running_loop().time()
            after_s = min(self._stall_s, _TRIAL_S) if self._is_on_trial else self._stall_s
            mute = self._places.count_mute(now_s, after_s)
            if self._waiting and self._pool.room.locked() and self._places.mute_s(now_s) >= after_s:
                self._stalled(f"mute for {after_s:g} s")
            elif mute * 2 >= self._limit and now_s - said_at_s >= _SAY_AGAIN_S:
                said_at_s = now_s
                log.upstream_slow(self.name, mute, self._limit, after_s)

    def _stalled(self, fault: str) -> None:
        if self._breaker.open(fault, datetime.now(UTC)):
            log.upstream_out(self.name, Phase.DOT, 0, "", fault)
            self._is_on_trial = True
            self._went_out()

    def _replace_mute_places(self, limit: int | None = None) -> None:
        """Gives out places for connections that hang; these go on waiting for their replies beside them."""
        now_s = asyncio.get_running_loop().time()
        after_s = min(self._stall_s, _TRIAL_S)
        for _ in range(self._places.replace(now_s, after_s, self._limit if limit is None else limit)):
            self._pool.room.release()
        self._pool.extra = self._places.replaced
        self._is_on_trial = limit is not None

    def _went_out(self) -> None:
        for patience in self._patience:  # they need not wait: the next upstream has them, or the queue
            patience.reschedule(asyncio.get_running_loop().time())
        self._probing = asyncio.create_task(self._probe_until_back())

    def _refuse_while_out(self) -> None:
        if self._breaker.is_open:
            out = Reply(0, "", f"the upstream is out: {self._breaker.fault}"[:1000])
            raise Unreachable(Phase.CONNECT, out, is_known=True)

    async def _send(self, mail: Outgoing, place: Place) -> list[Said]:
        fresh = False
        while True:
            connection = await self._take(mail.login, fresh=fresh)
            place.wire = connection.wire
            connection.wire.moved_at_s = asyncio.get_running_loop().time()  # it may have been kept for long
            connection.wire.deadline = asyncio.get_running_loop().time() + MOST_S
            try:
                if mail.begin is not None:
                    await mail.begin()
                said = await transaction.send(connection.wire, mail)
            except Broken as broken:
                self._pool.drop(connection)
                if connection.is_kept and not broken.is_sent:
                    fresh = True  # it died while it was kept: nobody's attempt
                    continue
                return broken.said
            except BaseException:
                self._pool.drop(connection)
                raise
            self._pool.put(connection)
            if connection.is_kept and any(one.reply.code == _CLOSING and one.phase is not Phase.DOT for one in said):
                fresh = True  # it said goodbye while it was kept
                continue
            return said

    async def _take(self, login: Login | None, *, fresh: bool = False) -> Connection:
        """A connection; what comes of it is the breaker's to know. Raises Unreachable."""
        try:
            connection = await self._pool.take(login, fresh=fresh)
        except Unreachable as fault:
            is_login = fault.phase is Phase.AUTH and fault.reply.is_permanent
            if login is None or not is_login:  # a client's own wrong password is no outage
                self._failed(fault, is_login=is_login)
            raise
        if not connection.is_kept and self._breaker.succeeded():
            log.upstream_back(self.name)
        return connection

    def _failed(self, fault: Unreachable, *, is_login: bool) -> None:
        if self._breaker.failed(str(fault), datetime.now(UTC), is_login=is_login):
            log.upstream_out(
                self.name, fault.phase, fault.reply.code, fault.reply.status, fault.reply.reason_without_reply
            )
            self._went_out()

    async def _probe_until_back(self) -> None:
        patience_s = _PROBE_S
        while self._breaker.is_open:
            await asyncio.sleep(self._breaker.next_probe_s(random.random()))  # noqa: S311  not a secret
            try:
                # One that hangs says nothing of the next; but some servers take minutes to greet.
                async with asyncio.timeout(patience_s):
                    await self._knock()
            except TimeoutError:
                patience_s *= 2
            except Unreachable:
                continue
            except Exception:  # noqa: BLE001  the outermost loop: an upstream that is never probed stays out for ever
                log.fault("probe", self.name)

    async def _knock(self) -> None:
        self._pool.put(await self._take(None, fresh=True))
        if self._is_on_trial:
            self._replace_mute_places(limit=1)

    async def close(self) -> None:
        """Stops probing and says goodbye on every kept connection."""
        for task in filter(None, (self._probing, self._watching)):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._pool.close()


class Upstreams:
    """All of them, in the order of the configuration."""

    def __init__(self, settings: Sequence[smtp.UpstreamConfig], hostname: str, processes: int = 1) -> None:
        self._all = [Upstream(one, hostname, processes) for one in settings]

    def states(self) -> list[State]:
        """How each of them is, in the order of the configuration."""
        return [upstream.state for upstream in self._all]

    @property
    def is_out(self) -> bool:
        """True while not one of them is up."""
        return all(upstream.state.is_out for upstream in self._all)

    async def send(self, mail: Outgoing) -> list[Answer]:
        """Hands the mail to the first upstream that serves its reverse-path; the next ones take over the
        recipients whom it has nothing to say about because it is out or closing."""
        nobody = Reply(0, "", "no [[upstream]] serves this reverse-path (senders)")
        answers = [Answer("none", Phase.CONNECT, nobody, 0)] * len(mail.recipients)
        left = list(range(len(answers)))
        for upstream in self._all:
            if not left or not upstream.serves(mail.sender or mail.reverse_path):
                continue
            try:
                given = await upstream.send(mail._replace(recipients=[mail.recipients[n] for n in left]))
            except _Busy as busy:
                for n in left:  # it is up and wants its mail later; the next one is not for that
                    answers[n] = Answer(upstream.name, Phase.CONNECT, Reply(0, "", f"put off: {busy}"), 0)
                break
            for n, answer in zip(left, given, strict=True):
                answers[n] = answer
            left = [n for n in left if answers[n].is_outage or answers[n].reply.code == _CLOSING]
        return answers

    async def try_login(self, login: Login, reverse_path: str = "") -> Reply:
        """What the upstream says to those credentials: 235, or its refusal; 454 of ours while it is out.

        The first upstream that serves the reverse-path is asked, the next ones only while it cannot be.
        """
        what = "no [[upstream]] serves this reverse-path"
        for upstream in self._all:
            if not upstream.serves(reverse_path):
                continue
            try:
                answer = await upstream.try_login(login)
            except _Busy as busy:
                what = str(busy)
                continue
            reply, what = answer.reply, f"{answer.phase}: {answer.reply.text}"
            if answer.phase is Phase.AUTH and (reply.accepts or 400 <= reply.code < 600):
                return reply if reply.status else reply._replace(status=f"{reply.code // 100}.7.0")
        return Reply(454, "4.7.0", f"the credentials cannot be checked now; try again later ({what})")

    async def close(self) -> None:
        for upstream in self._all:
            await upstream.close()
