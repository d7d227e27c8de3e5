"""Pixel and click for programs that send mail by themselves, in an application of their own.

In: a function for what happens, and a `relay.tracking.Tracker`, else the environment's.  Out: Starlette routes, to be
mounted in any Starlette or ASGI application where the tracker's `base_url` leads. The answer never waits for the
function, nor depends on it.
"""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Literal

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from relay import edits, ids, log, tokens, tracking
from relay.config.values import read_network
from relay.rewrite import destination
from relay.tokens import BadToken
from relay.tracking import Event, Kind, Tracked, Tracker
from web import visitors
from web.answers import image, may_redirect, redirect

OnEvent = Callable[[Event], Awaitable[None] | None]
_KINDS: dict[Kind, edits.Kind] = {"open": edits.Kind.OPEN, "click": edits.Kind.CLICK}


def routes(
    tracker: Tracker | None = None,
    on_event: OnEvent | None = None,
    *,
    ip: Literal["full", "truncated", "none"] = "truncated",
    trusted_proxies: Sequence[str] = (),
) -> list[BaseRoute]:
    """`/o/TOKEN.png` `.gif` and `/c/TOKEN`, for the tokens of that tracker, else of `relay.tracking.default()`.

    `on_event`, a function or a coroutine function, is called with an Event after the answer; what it raises is logged.
    HEAD is no event. `ip` is how much of the visitor's address an event has, `trusted_proxies` the networks whose
    X-Forwarded-For is believed. Raises ValueError for what is no network, and where nothing says which tracker.
    """
    door = _Door(tracker or tracking.default(), on_event, ip, trusted_proxies)
    return [Route("/o/{name:path}", door.open), Route("/c/{token:path}", door.click)]


class _Door:
    def __init__(
        self,
        tracker: Tracker,
        on_event: OnEvent | None,
        ip: Literal["full", "truncated", "none"],
        trusted_proxies: Sequence[str],
    ) -> None:
        self._tracker = tracker
        self._on_event = on_event
        self._ip = ip
        self._trusted = [read_network(one) for one in trusted_proxies]

    async def open(self, request: Request) -> Response:
        name: str = request.path_params["name"]
        text = tokens.without_rest(name)
        tracked = None
        if name.startswith((".gif", ".png"), len(text)):
            name = name[: len(text) + len(".gif")]
            tracked = self._read("open", text)
        return self._answered(image(name), tracked, request)

    async def click(self, request: Request) -> Response:
        tracked = self._read("click", tokens.without_rest(request.path_params["token"]))
        target = (destination.request(tracked.url, "utf-8") if tracked else None) or b""
        if not may_redirect(target):
            return PlainTextResponse("There is nothing here.\n", 404)
        return self._answered(redirect(target), tracked, request)

    def _read(self, kind: Kind, token: str) -> Tracked | None:
        try:
            return self._tracker.read_token(kind, token)
        except BadToken:
            log.bad_token(kind)
            return None

    def _answered(self, response: Response, tracked: Tracked | None, request: Request) -> Response:
        response.headers["x-content-type-options"] = "nosniff"
        if self._on_event and tracked is not None and request.method == "GET":
            response.background = BackgroundTask(self._tell, self._on_event, self._event(tracked, request))
        return response

    def _event(self, tracked: Tracked, request: Request) -> Event:
        visit = visitors.visit_of(_KINDS[tracked.kind], request)
        address = visitors.address(request, self._trusted)
        verdict, reasons = visitors.judge(visit, address)
        return Event(
            tracked.kind,
            tracked.url,
            tracked.metadata,
            verdict,
            reasons,
            visitors.kept(address, self._ip),
            visit.user_agent[: visitors.LONGEST_USER_AGENT],
            datetime.now(UTC),
        )

    async def _tell(self, on_event: OnEvent, event: Event) -> None:
        try:
            if inspect.iscoroutinefunction(on_event):
                await on_event(event)
            else:  # it may block
                coming = await run_in_threadpool(on_event, event)
                if inspect.isawaitable(coming):
                    await coming
        except Exception:  # noqa: BLE001  the program's own fault must not become a recipient's
            log.fault("on_event", ids.new())
