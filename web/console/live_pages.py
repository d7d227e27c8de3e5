"""A page that keeps itself up to date: `/messages/live` says that mail has changed, as server-sent events.

In: a session that the gate let through.  Out: `text/event-stream`, at most one event a second, without what happened:
the page asks for its own rows anew, with its own filters. WHATWG HTML §9.2.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from web import shutdown
from web.event_feed import EventFeed

MAX_LIVE_S = 600.0  # then the browser connects again; a signed-out one is refused
_POLL_S = 0.5
_PAUSE_S = 1.0
_KEEP_ALIVE_S = 15.0


class LivePages:
    """The route `/messages/live`."""

    def __init__(self, feed: EventFeed) -> None:
        self._feed = feed

    def routes(self) -> list[BaseRoute]:
        return [Route("/messages/live", self.stream_changes)]

    async def stream_changes(self, request: Request) -> Response:
        if self._feed.is_full:
            raise HTTPException(503)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        if request.method == "HEAD":
            return Response(media_type="text/event-stream", headers=headers)
        return StreamingResponse(self._lines(request), media_type="text/event-stream", headers=headers)

    async def _lines(self, request: Request) -> AsyncIterator[str]:
        events = await self._feed.listen()
        clock = asyncio.get_running_loop().time
        ends_s, quiet_s = clock() + MAX_LIVE_S, clock() + _KEEP_ALIVE_S
        try:
            yield "retry: 3000\ndata: 0\n\n"  # the page looks once: mail may have come since it was made
            while clock() < ends_s and not shutdown.is_stopping(request):
                happened = 0
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_POLL_S):
                        if await events.get() is None:
                            return
                        happened = 1
                while happened and not events.empty():
                    if events.get_nowait() is None:
                        return
                    happened += 1
                if happened:
                    yield f"data: {happened}\n\n"
                    await asyncio.sleep(_PAUSE_S)
                elif clock() >= quiet_s:
                    yield ": still here\n\n"
                quiet_s = clock() + _KEEP_ALIVE_S if happened or clock() >= quiet_s else quiet_s
        finally:
            self._feed.remove_listener(events)
