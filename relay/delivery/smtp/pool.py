"""The connections to one upstream: a limited number, reused within limits of idle time, age and count of mails.

A connection belongs to the credentials that it was opened with; mail of other credentials never uses it.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

from relay.delivery.smtp.protocol import SmtpClientProtocol
from relay.envelope import Login

Connect = Callable[[Login | None], Awaitable[SmtpClientProtocol]]


class PoolLimits(NamedTuple):
    """For one upstream. `idle_s` and `age_s` in seconds, `mails` for each connection."""

    connections: int
    idle_s: float
    age_s: float
    mails: int


@dataclass(slots=True)
class PooledConnection:
    """`login` is whose it is; None for the upstream's configured credentials. Times are the event loop's."""

    client: SmtpClientProtocol
    login: Login | None
    opened_at_s: float
    used_at_s: float
    mails: int = 0
    is_reused: bool = False


class SlotSemaphore(asyncio.Semaphore):
    """Slots for connections. Who finds none free waits, first come first served."""

    def take_free(self) -> bool:
        """Takes a slot if one is free; False if one has to be waited for."""
        if self.locked():
            return False
        self._value -= 1  # as `acquire` does, which is a coroutine
        return True


class Pool:
    """Open connections that are reused. Acquire a slot (`slots`) before a connection."""

    def __init__(self, limits: PoolLimits, connect: Connect) -> None:
        self.slots = SlotSemaphore(limits.connections)
        self._limits = limits
        self._connect = connect
        self.extra_slots = 0  # beyond the limit: for connections that stall and have been replaced
        self._in_use = 0
        self._idle: deque[PooledConnection] = deque()  # the longest unused first
        self._sweep_timer: asyncio.TimerHandle | None = None

    @property
    def counts(self) -> tuple[int, int]:
        """How many are in use, and how many are idle."""
        return self._in_use, len(self._idle)

    async def acquire(self, login: Login | None, *, fresh: bool = False) -> PooledConnection:
        """A connection with those credentials, an idle one unless `fresh`. Raises what `connect` raises.

        Give it back with `give_back` or `discard`.
        """
        self._in_use += 1
        try:
            return (None if fresh else self._take_idle(login)) or await self._open(login)
        except BaseException:
            self._in_use -= 1
            raise

    def give_back(self, connection: PooledConnection) -> None:
        """Gives back a connection after a mail. It is kept open unless a limit is reached."""
        self._in_use -= 1
        now = asyncio.get_running_loop().time()
        connection.used_at_s, connection.is_reused = now, True
        connection.mails += 1
        if connection.mails < self._limits.mails and self._is_usable(connection, now):
            self._idle.append(connection)
            self._schedule_sweep(self._limits.idle_s)
        else:
            connection.client.quit()

    def discard(self, connection: PooledConnection) -> None:
        """Gives back a connection that cannot be used any more."""
        self._in_use -= 1
        connection.client.abort()

    def has_idle(self, login: Login) -> bool:
        """True if a usable connection with exactly these credentials is idle."""
        now = asyncio.get_running_loop().time()
        return any(one.login == login and self._is_usable(one, now) for one in self._idle)

    async def _open(self, login: Login | None) -> PooledConnection:
        while self._idle and self._in_use + len(self._idle) > self._limits.connections + self.extra_slots:
            self._idle.popleft().client.quit()  # another login's: the limit is for all together
        client = await self._connect(login)
        now = asyncio.get_running_loop().time()
        return PooledConnection(client, login, now, now)

    def _take_idle(self, login: Login | None) -> PooledConnection | None:
        now = asyncio.get_running_loop().time()
        for n in range(len(self._idle) - 1, -1, -1):  # the last used first: the others may grow old and go
            connection = self._idle[n]
            if connection.login == login:
                del self._idle[n]
                if self._is_usable(connection, now):
                    return connection
                connection.client.abort()
        return None

    def _is_usable(self, connection: PooledConnection, now: float) -> bool:
        limits = self._limits
        return (
            connection.client.is_idle  # a 421, or the end, may have come while it was idle
            and now - connection.used_at_s < limits.idle_s
            and now - connection.opened_at_s < limits.age_s
        )

    def _schedule_sweep(self, after_s: float) -> None:
        if self._sweep_timer is None:
            self._sweep_timer = asyncio.get_running_loop().call_later(after_s, self._quit_expired)

    def _quit_expired(self) -> None:
        """Quits connections that were idle for too long: they occupy the server."""
        self._sweep_timer = None
        now = asyncio.get_running_loop().time()
        for connection in [one for one in self._idle if not self._is_usable(one, now)]:
            self._idle.remove(connection)
            connection.client.quit()
        if self._idle:
            self._schedule_sweep(max(0.05, self._idle[0].used_at_s + self._limits.idle_s - now))

    def close(self) -> None:
        """Quits every idle connection."""
        if self._sweep_timer:
            self._sweep_timer.cancel()
            self._sweep_timer = None
        while self._idle:
            self._idle.pop().client.quit()
