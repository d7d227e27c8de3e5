"""PostgreSQL's LISTEN and NOTIFY: what one process commits wakes the others, on all machines, without a poll.

In: a change that others wait for, named in its transaction.  Out: a call in each process that listens, once that
transaction is committed. SQLite has nothing of the kind, and its processes poll.

A notification can be lost with its connection, and behind a pooler (PgBouncer in transaction mode) none arrives. So
each process notifies itself now and then. As long as these arrive it polls slowly; otherwise as often as without.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable

import sqlalchemy as sa

from relay import ids
from relay.store.database import engine

QUEUE, WEBHOOKS = "waypost_queue", "waypost_webhooks"
SLOW_POLL_S = 5.0  # while notifications arrive
_CHECK = "waypost_check"
_CHECK_EVERY_S, _MAX_SILENCE_S = 10.0, 15.0
_RETRY_S = 2.0
_GATHER_S = 0.02
_NOTIFY = sa.text("SELECT pg_notify(:channel, :payload)")


def notify(connection: sa.Connection, channel: str) -> None:
    """Wakes those who listen, when this transaction commits. Several of one transaction are one."""
    if connection.dialect.name == "postgresql":
        connection.execute(_NOTIFY, {"channel": channel, "payload": ""})


class NotificationListener:
    """One process's connection for notifications. `run` keeps it open; `wakes` says what each channel calls."""

    def __init__(self, url: sa.URL) -> None:
        self._url = url
        self._name = ids.new()
        self._notified_at_s = float("-inf")
        self._waking: set[str] = set()
        self.wakes: dict[str, Callable[[], None]] = {}

    def poll_s(self, usual_s: float) -> float:
        """How long to wait before the next look; `usual_s` is how long where there are no notifications."""
        is_notified = time.monotonic() - self._notified_at_s < _MAX_SILENCE_S
        return max(usual_s, SLOW_POLL_S) if is_notified else usual_s

    async def run(self) -> None:
        """Listens. Never returns; on SQLite it waits for ever."""
        if self._url.get_backend_name() != "postgresql":
            await asyncio.Event().wait()
        import psycopg  # here: SQLite and most commands do without

        while True:
            with contextlib.suppress(psycopg.Error, OSError, TimeoutError):  # whoever reads or writes says so
                await self._listen()
            self._notified_at_s = float("-inf")
            self._wake_all()  # what was lost with the connection is looked for
            await asyncio.sleep(_RETRY_S)

    async def _listen(self) -> None:
        import psycopg

        url = self._url.set(drivername="postgresql").render_as_string(hide_password=False)
        conninfo = psycopg.conninfo.make_conninfo(url, **engine.POSTGRESQL_OPTIONS)
        async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
            for channel in (*self.wakes, _CHECK):
                await connection.execute(f"LISTEN {channel}".encode())
            while True:
                await connection.execute("SELECT pg_notify(%s, %s)", (_CHECK, self._name))
                async for one in connection.notifies(timeout=_CHECK_EVERY_S):
                    if one.channel in self.wakes:
                        self._wake_soon(one.channel)
                    elif one.payload == self._name:
                        self._note_notification()

    def _note_notification(self) -> None:
        is_new = self._notified_at_s == float("-inf")
        self._notified_at_s = time.monotonic()
        if is_new:
            self._wake_all()  # what was committed before it listened

    def _wake_soon(self, channel: str) -> None:
        """Commits that come close together are looked for once."""
        if channel not in self._waking:
            self._waking.add(channel)
            asyncio.get_running_loop().call_later(_GATHER_S, self._wake, channel)

    def _wake(self, channel: str) -> None:
        self._waking.discard(channel)
        self.wakes[channel]()

    def _wake_all(self) -> None:
        for wake in self.wakes.values():
            wake()
