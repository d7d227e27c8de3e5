"""The connections to one upstream: so many at a time, kept between mails within limits of idleness, age and count.

A connection belongs to the credentials it was opened with: mail of other credentials never goes over it.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from relay.delivery.smtp.protocol import Wire
from relay.envelope import Login

Dial = Callable[[Login | None], Awaitable[Wire]]


class Limits(NamedTuple):
    """For one upstream. `idle_s` and `age_s` in seconds, `mails` for each connection."""

    connections: int
    idle_s: float
    age_s: float
    mails: int


class Connection(NamedTuple):
    """`login` is whose it is; None for the upstream's configured credentials. Times are the event loop's."""

    wire: Wire
    login: Login | None
    born: float
    used: float
    mails: int = 0
    is_kept: bool = False


class Pool:
    """Kept connections. Whoever takes one holds a place (`room`) while it is in use."""

    def __init__(self, limits: Limits, dial: Dial) -> None:
        self.room = asyncio.Semaphore(limits.connections)
        self._limits = limits
        self._dial = dial
        self.extra = 0  # beyond the limit: as many as are left to wait for their replies
        self._in_use = 0
        self._kept: deque[Connection] = deque()  # the longest unused first
        self._sweeping: asyncio.TimerHandle | None = None

    @property
    def counts(self) -> tuple[int, int]:
        """How many are in use, and how many are kept."""
        return self._in_use, len(self._kept)

    async def take(self, login: Login | None, *, fresh: bool = False) -> Connection:
        """A connection with those credentials, a kept one unless `fresh`. Raises what `connect` raises.

        Give it back with `put` or `drop`.
        """
        self._in_use += 1
        try:
            return (None if fresh else self._take_kept(login)) or await self._open(login)
        except BaseException:
            self._in_use -= 1
            raise

    def put(self, connection: Connection) -> None:
        """Gives back a connection on which a mail has gone; it is kept unless a limit is reached."""
        self._in_use -= 1
        now = asyncio.get_running_loop().time()
        connection = connection._replace(used=now, mails=connection.mails + 1, is_kept=True)
        if connection.mails < self._limits.mails and self._is_usable(connection, now):
            self._kept.append(connection)
            self._sweep_later(self._limits.idle_s)
        else:
            connection.wire.say_goodbye()

    def drop(self, connection: Connection) -> None:
        """Gives back a connection that is of no more use."""
        self._in_use -= 1
        connection.wire.abort()

    def has(self, login: Login) -> bool:
        """True if a usable connection is kept with those very credentials."""
        now = asyncio.get_running_loop().time()
        return any(one.login == login and self._is_usable(one, now) for one in self._kept)

    async def _open(self, login: Login | None) -> Connection:
        while self._kept and self._in_use + len(self._kept) > self._limits.connections + self.extra:
            self._kept.popleft().wire.say_goodbye()  # another login's: the limit is for all together
        wire = await self._dial(login)
        now = asyncio.get_running_loop().time()
        return Connection(wire, login, now, now)

    def _take_kept(self, login: Login | None) -> Connection | None:
        now = asyncio.get_running_loop().time()
        for n in range(len(self._kept) - 1, -1, -1):  # the last used first: the others may grow old and go
            connection = self._kept[n]
            if connection.login == login:
                del self._kept[n]
                if self._is_usable(connection, now):
                    return connection
                connection.wire.abort()
        return None

    def _is_usable(self, connection: Connection, now: float) -> bool:
        limits = self._limits
        return (
            connection.wire.is_quiet  # a 421, or the end, may have come while it was kept
            and now - connection.used < limits.idle_s
            and now - connection.born < limits.age_s
        )

    def _sweep_later(self, after_s: float) -> None:
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(after_s, self._sweep)

    def _sweep(self) -> None:
        """Says goodbye on connections that nobody needed in time: they hold passwords and the server's places."""
        self._sweeping = None
        now = asyncio.get_running_loop().time()
        for connection in [one for one in self._kept if not self._is_usable(one, now)]:
            self._kept.remove(connection)
            connection.wire.say_goodbye()
        if self._kept:
            self._sweep_later(max(0.05, self._kept[0].used + self._limits.idle_s - now))

    def close(self) -> None:
        """Says goodbye on every kept connection."""
        if self._sweeping:
            self._sweeping.cancel()
            self._sweeping = None
        while self._kept:
            self._kept.pop().wire.say_goodbye()
