"""Answers to requests for a program's pixels and links, without any framework.

In: method, path, header fields and peer of a request.  Out: a LibraryResponse, with the event or the bad link that a
hook of the program is called with after the answer.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, TypedDict
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response

from relay import edits, ids, log, tokens, tracking
from relay.config.values import read_network
from relay.rewrite import link_url
from relay.tokens import InvalidTokenError
from relay.tracking import BadLink, Event, Kind, Tracker
from web import visitors
from web.responses import can_redirect_to, image_response, redirect_response

OnEvent = Callable[[Event], Awaitable[None] | None]
OnBadLink = Callable[[BadLink], Awaitable[None] | None]
_KINDS: dict[Kind, edits.Kind] = {"open": edits.Kind.OPEN, "click": edits.Kind.CLICK}
_THIS_MACHINE = "127.0.0.1"
_MAX_BAD_TOKEN = 500  # characters of it that a hook gets


class EndpointOptions(TypedDict, total=False):
    """Options of the entry point of every framework, beside tracker and `on_event`."""

    on_bad_link: OnBadLink | None  # called for a token that this tracker did not make
    ip: Literal["full", "truncated", "none"]  # how much of a visitor's address a hook gets; default "truncated"
    trusted_proxies: Sequence[str]  # networks whose X-Forwarded-For, else X-Real-IP, is believed; default none


class LibraryResponse(NamedTuple):
    """A response. To HEAD it has no body, and the fields of a GET."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    fact: Event | BadLink | None = None  # what a hook is called with


class LibraryEndpoints:
    """`/o/TOKEN.png`, `.gif` and `/c/TOKEN` for the tokens of that tracker, else of `tracker_from_environment()`.

    Hooks are functions or coroutine functions; an exception in one is logged. Raises ValueError if a network is
    malformed, or if there is no tracker.
    """

    def __init__(
        self,
        tracker: Tracker | None = None,
        on_event: OnEvent | None = None,
        *,
        on_bad_link: OnBadLink | None = None,
        ip: Literal["full", "truncated", "none"] = "truncated",
        trusted_proxies: Sequence[str] = (),
    ) -> None:
        self._tracker = tracker or tracking.tracker_from_environment()
        self._prefix = urlsplit(self._tracker.base_url).path
        self._on_event = on_event
        self._on_bad_link = on_bad_link
        self._ip = ip
        self._trusted = [read_network(one) for one in trusted_proxies]

    def answer(self, method: str, path: str, headers: Mapping[str, str], peer: str) -> LibraryResponse:
        """The answer to a request for that path, decoded, with or without the path of `base_url` before it. `peer` is
        the address that the connection comes from; empty for a socket file, which counts as 127.0.0.1."""
        if not isinstance(headers, Headers):
            headers = Headers(headers)
        if path.startswith(f"{self._prefix}/"):
            path = path.removeprefix(self._prefix)
        folder, _, name = path.lstrip("/").partition("/")
        if method not in ("GET", "HEAD"):
            return _to_response(PlainTextResponse("GET or HEAD.\n", 405, {"allow": "GET, HEAD"}), None, method)
        if folder == "o":
            return self._answer_pixel(method, name, headers, peer)
        if folder == "c":
            return self._answer_click(method, name, headers, peer)
        return _to_response(_not_found(), None, method)

    def _answer_pixel(self, method: str, name: str, headers: Headers, peer: str) -> LibraryResponse:
        token = tokens.leading_token(name)
        fact: Event | BadLink | None = None
        if name.startswith((".gif", ".png"), len(token)):
            name = name[: len(token) + len(".gif")]
            fact = self._read_event("open", token, headers, peer)
        return _to_response(image_response(name), fact, method)

    def _answer_click(self, method: str, name: str, headers: Headers, peer: str) -> LibraryResponse:
        fact = self._read_event("click", tokens.leading_token(name), headers, peer)
        if isinstance(fact, BadLink):
            return _to_response(_not_found(), fact, method)
        target = link_url.to_location(fact.url, "utf-8") or b""
        return (
            _to_response(redirect_response(target), fact, method)
            if can_redirect_to(target)
            else _to_response(_not_found(), None, method)
        )

    def _read_event(self, kind: Kind, token: str, headers: Headers, peer: str) -> Event | BadLink:
        visit = visitors.read_visit(_KINDS[kind], headers)
        agent, now = visit.user_agent, datetime.now(UTC)
        address = visitors.forwarded_address(peer or _THIS_MACHINE, headers, self._trusted)
        ip = visitors.redact_ip(address, self._ip)
        try:
            tracked = self._tracker.read_token(kind, token)
        except InvalidTokenError as error:
            log.bad_token(kind)
            return BadLink(kind, token[:_MAX_BAD_TOKEN], str(error), ip, agent, now)
        verdict, reasons = visitors.judge_visit(visit, address)
        return Event(kind, tracked.url, tracked.metadata, verdict, reasons, ip, agent, now, ids.new(now))

    async def call_hook(self, fact: Event | BadLink) -> None:
        """Calls the hook for it; one that may block in a thread of its own. Never raises."""
        name, hook = self._hook(fact)
        try:
            if inspect.iscoroutinefunction(hook):
                await hook(fact)
            elif hook:
                coming = await run_in_threadpool(hook, fact)
                if inspect.isawaitable(coming):
                    await coming
        except Exception:  # noqa: BLE001  the program's own fault must not become a recipient's
            log.fault(name, ids.new())

    def call_hook_in_this_thread(self, fact: Event | BadLink) -> None:
        """The same in this thread, which has no event loop. A database connection that the hook opens belongs to this
        thread, and the caller closes it."""
        name, hook = self._hook(fact)
        try:
            coming = hook(fact) if hook else None
            if inspect.isawaitable(coming):
                asyncio.run(_wait_for(coming))
        except Exception:  # noqa: BLE001  as above
            log.fault(name, ids.new())

    def _hook(self, fact: Event | BadLink) -> tuple[str, Callable[[Any], Awaitable[None] | None] | None]:  # Any: fact
        return ("on_event", self._on_event) if isinstance(fact, Event) else ("on_bad_link", self._on_bad_link)


async def _wait_for(awaitable: Awaitable[None]) -> None:
    await awaitable


def _not_found() -> Response:
    return PlainTextResponse("There is nothing here.\n", 404)


def _to_response(response: Response, fact: Event | BadLink | None, method: str) -> LibraryResponse:
    response.headers["x-content-type-options"] = "nosniff"
    response.headers.setdefault("content-type", "text/plain; charset=utf-8")  # else some frameworks say HTML
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.raw_headers]
    is_head = method == "HEAD"
    return LibraryResponse(
        response.status_code, headers, b"" if is_head else bytes(response.body), None if is_head else fact
    )
