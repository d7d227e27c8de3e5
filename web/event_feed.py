"""Events as they are committed, for the API's stream and the console's live list.

In: the database, which one query asks twice a second for all listeners, while there are any.  Out: a queue of rows for
each listener. An event's id is made before its commit, by as long as its message took. So each query reads the ids of
the last minutes, and those that are not known yet are new.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import sqlalchemy as sa

from relay.store.database import errors
from relay.store.store import Store
from relay.store.views import event_list

MAX_LISTENERS = 100
_MAX_WAITING = 10_000  # events that wait for a slow client; with more it is disconnected
_MAX_IDS = 50_000  # that one query compares
_MAX_READ = 500  # events that are read together
_POLL_S = 0.5
_LOOK_BACK = timedelta(minutes=2)

EventRow = sa.RowMapping
EventQueue = asyncio.Queue[EventRow | None]


class EventFeed:
    """Events as they are committed, for all who listen in this process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._listeners: set[EventQueue] = set()
        self._known_ids: set[str] | None = None  # ids of events that listeners have got, or that are older than they
        self._read_lock = asyncio.Lock()
        self._polling: asyncio.Task[None] | None = None

    @property
    def is_full(self) -> bool:
        return len(self._listeners) >= MAX_LISTENERS

    async def listen(self) -> EventQueue:
        """A queue of the events from now on; None in it: the listener was too slow, and gets no more. Raises
        sqlalchemy.exc.SQLAlchemyError."""
        async with self._read_lock:
            await self._read_new_events()  # events up to now are for earlier listeners
            events: EventQueue = asyncio.Queue()
            self._listeners.add(events)
        if self._polling is None:
            self._polling = asyncio.create_task(self._poll())
        return events

    def remove_listener(self, events: EventQueue) -> None:
        self._listeners.discard(events)
        if self._polling and not self._listeners:
            self._polling.cancel()
            self._polling = self._known_ids = None

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(_POLL_S)
            try:
                async with self._read_lock:
                    await self._read_new_events()
            except Exception as error:  # noqa: BLE001  the outermost loop: the database may answer again
                errors.log_failure(error, "stream")

    async def _read_new_events(self) -> None:
        """Reads the new events and gives them to the listeners."""
        since = datetime.now(UTC) - _LOOK_BACK
        recent = await self._store.read(partial(event_list.list_event_ids, since=since, limit=_MAX_IDS))
        new = [] if self._known_ids is None else sorted(set(recent) - self._known_ids)
        for at in range(0, len(new), _MAX_READ):
            some = new[at : at + _MAX_READ]
            self._hand_out(await self._store.read(partial(event_list.read_events, event_ids=some)))
        self._known_ids = set(recent)

    def _hand_out(self, rows: Sequence[EventRow]) -> None:
        for events in list(self._listeners):
            if events.qsize() + len(rows) > _MAX_WAITING:
                self._listeners.discard(events)
                events.put_nowait(None)
                continue
            for row in rows:
                events.put_nowait(row)
