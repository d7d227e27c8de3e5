"""The API's stream of events: `GET events/stream`, as server-sent events.

In: requests behind the API's gate.  Out: `text/event-stream`, an event of ours as `data` with its id and its type. A
client that comes back with `Last-Event-ID` gets what has happened since, then what happens. WHATWG HTML §9.2.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from relay import address, ids
from relay.store.store import Store
from relay.store.views import event_list, json_objects
from relay.store.views.event_list import EventSearch
from web import event_feed, shutdown
from web.api.answers import ApiError
from web.api.events import EventFilter, read_filter
from web.api.openapi import documented
from web.api.parameters import read_query
from web.event_feed import EventFeed, EventRow

MAX_STREAM_S = 3600.0  # then the client connects again; one whose key has ended is refused
_MAX_READ = 500  # events that are read together
_POLL_S = 0.5
_KEEP_ALIVE_S = 15.0


class EventStreamApi:
    """The endpoint `events/stream`."""

    def __init__(self, store: Store, feed: EventFeed) -> None:
        self._store = store
        self._feed = feed

    def routes(self) -> list[BaseRoute]:
        return [Route("/events/stream", self.stream_events)]

    @documented("Events as they happen", query=EventFilter, media_type="text/event-stream")
    async def stream_events(self, request: Request) -> Response:
        search = read_filter(read_query(request, EventFilter))
        last = request.headers.get("last-event-id", "")
        try:
            ids.to_octets(last or ids.lowest_at(datetime.now(UTC)))
        except ValueError:
            raise ApiError(400, "bad_request", "Last-Event-ID: must be the id of an event") from None
        if self._feed.is_full:
            raise ApiError(503, "busy", f"{event_feed.MAX_LISTENERS} streams are open already; try again")
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        if request.method == "HEAD":
            return Response(media_type="text/event-stream", headers=headers)
        return StreamingResponse(self._lines(request, search, last), media_type="text/event-stream", headers=headers)

    async def _lines(self, request: Request, search: EventSearch, last: str) -> AsyncIterator[str]:
        events = await self._feed.listen()
        try:
            yield "retry: 2000\n\n"
            sent: set[str] = set()
            async for row in self._read_missed_events(search, last):
                sent.add(row["id"])
                yield _format(row)
            clock = asyncio.get_running_loop().time
            ends_s, quiet_s = clock() + MAX_STREAM_S, clock() + _KEEP_ALIVE_S
            while clock() < ends_s and not shutdown.is_stopping(request):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(_POLL_S, MAX_STREAM_S)):
                        happened = await events.get()
                    if happened is None:
                        return
                    if happened["id"] not in sent and _fits(search, happened):
                        quiet_s = clock() + _KEEP_ALIVE_S
                        yield _format(happened)
                if clock() >= quiet_s:
                    quiet_s = clock() + _KEEP_ALIVE_S
                    yield ": still here\n\n"
        finally:
            self._feed.remove_listener(events)

    async def _read_missed_events(self, search: EventSearch, last: str) -> AsyncIterator[EventRow]:
        """The events since the last one that the client had."""
        while last:
            work = partial(event_list.list_events, search=search, limit=_MAX_READ, cursor=last, oldest_first=True)
            page = await self._store.read(work)
            for row in page.rows:
                yield row
            last = page.next


def _fits(search: EventSearch, row: EventRow) -> bool:
    """As `event_list` has it, but for recipients that are stored as pseudonyms."""
    return (
        (not search.types or row["type"] in search.types)
        and (not search.verdict or row["verdict"] == search.verdict)
        and (not search.message or row["message"] == search.message)
        and (not search.recipient or address.canonical(row["recipient"]) == address.canonical(search.recipient))
    )


def _format(row: Any) -> str:  # Any: a row's values
    data = json.dumps(json_objects.event_object(row), ensure_ascii=False, separators=(",", ":"))
    return f"id: {row['id']}\nevent: {row['type']}\ndata: {data}\n\n"
