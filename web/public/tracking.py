"""Pixel and click: the answer is sent as soon as the hit is on disk, and the event is committed afterwards.

In: a token in a path.  Out: an image, always; the redirect to the exact octets that were signed, or 404.
Nothing here waits for the database: during an outage links are as quick as before, and hits wait in a log on disk.
"""

import asyncio
import time
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Scope

from relay import hit_verdict, ids, log, metrics, tokens
from relay.attribution import delivery_verdict
from relay.config.schema import Config
from relay.edits import Kind
from relay.event_type import EventType
from relay.store.store import DatabaseUnavailableError, Store
from relay.store.tracking.hit_facts import Hit
from relay.store.tracking.verdicts import DeliveryObservation
from web import visitors
from web.middleware import BadTokenLimit
from web.public.mass_visitors import DeliveryVisit, MassVisitorDetector
from web.public.write_behind import FactBuffer
from web.rendering import TemplateRenderer
from web.responses import can_redirect_to, image_response, redirect_response

_EVENTS = {Kind.OPEN: EventType.OPENED, Kind.CLICK: EventType.CLICKED}


class HitRecorder:
    """Records hits: makes a fact of each request and gives it to the store."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self.has_recipient_tokens = config.privacy.has_recipient_tokens
        self._buffer = FactBuffer(store)
        self._mass_visitors = MassVisitorDetector()

    def stored_ip(self, request: Request) -> str:
        """The visitor's address as far as the privacy settings allow to store it."""
        return self._redact(visitors.client_address(request, self._config.tracking.trusted_proxies))

    def _redact(self, address: str) -> str:
        privacy = self._config.privacy  # its other modes keep no address
        return visitors.redact_ip(address, privacy.ip) if privacy.mode == "full" else ""

    def record_hit(self, token: tokens.Token, scope: Scope) -> "asyncio.Future[None] | None":
        """Starts to record the hit. The future is done when it is on disk. None for a request that is no hit:
        HEAD, and any in privacy mode "off"."""
        if self._config.privacy.mode == "off":
            return None
        visit = visitors.read_visit(token.kind, visitors.header_map(scope))
        address = visitors.scope_address(scope, self._config.tracking.trusted_proxies)
        stored_ip = self._redact(address)
        agent = visit.user_agent[: visitors.MAX_USER_AGENT]
        verdict, reasons = visitors.judge_visit(visit, address)
        if scope["method"] != "GET":
            if verdict == hit_verdict.HUMAN:
                self.record_observation(token, delivery_verdict.HEAD, agent, stored_ip)
            return None
        now = datetime.now(UTC)
        hit = Hit(
            id=ids.new(now),
            type=_EVENTS[token.kind],
            at=now,
            message=token.message,
            number=None if token.recipient == tokens.ANY_RECIPIENT else token.recipient,
            verdict=verdict,
            reasons=reasons,
            url=token.url.decode("utf-8", "replace"),
            user_agent=agent if self.has_recipient_tokens else "",
            ip=stored_ip,
            for_message_only=not self.has_recipient_tokens,
            link=token.link,
        )
        on_disk = self._buffer.add("hit", hit)
        metrics.hit(hit.type, verdict)
        if verdict == hit_verdict.HUMAN and hit.number is not None:
            step = DeliveryVisit(time.monotonic(), token.message, token.recipient)
            for one in self._mass_visitors.observe(address, agent, step):
                self.record_observation(one, delivery_verdict.MANY_RECIPIENTS_SEEN, agent, hit.ip)
        return on_disk

    def record_observation(self, visit: tokens.Token | DeliveryVisit, kind: str, agent: str = "", ip: str = "") -> None:
        """Records a request that counts as no hit, but helps to judge the hits around it. Where addresses are not
        stored, only the unsubscribe page is recorded: without an address nothing else can be compared."""
        number = visit.recipient if isinstance(visit, tokens.Token) else visit.number
        if self._config.privacy.mode == "full" and (ip or kind == delivery_verdict.PAGE):
            self._buffer.add(
                "observation", DeliveryObservation(datetime.now(UTC), visit.message, number, kind, agent, ip)
            )

    async def flush(self) -> None:
        """Waits until every hit so far is on disk."""
        await self._buffer.flush()


class TokenReader:
    """Reads the tokens in paths, and counts those that are not ours."""

    def __init__(self, config: Config, ring: tokens.KeyRing, renderer: TemplateRenderer) -> None:
        self._trusted = config.tracking.trusted_proxies
        self._ring = ring
        self._renderer = renderer
        self._tries = BadTokenLimit()

    def read_token(self, kind: Kind, text: str, request: Request) -> tokens.Token | None:
        """The token; None if it is not one of ours."""
        try:
            return self._ring.read_token(kind, tokens.leading_token(text))
        except tokens.InvalidTokenError:
            metrics.bad_token(kind)
            request.state.refused = not self._tries.allow(visitors.client_address(request, self._trusted))
            if not request.state.refused:  # in a flood, only some bad tokens get a line
                log.bad_token(kind)
            return None

    def bad_token_response(self, request: Request) -> Response:
        """The page for a bad token: 404, and 429 to a network that has tried very many."""
        if getattr(request.state, "refused", False):
            return PlainTextResponse("Too many links that are none of ours. Please wait.\n", 429, {"retry-after": "60"})
        return self._renderer.render_localized(request, "error.html", 404)


class TrackingEndpoints:
    """The endpoints that mail programs call when a mail is read."""

    def __init__(self, store: Store, reader: TokenReader, hits: HitRecorder) -> None:
        self._store = store
        self._reader = reader
        self._hits = hits

    async def answer_pixel(self, request: Request) -> Response:
        started_s = time.perf_counter()
        name: str = request.path_params["name"]
        text = tokens.leading_token(name)
        if name.startswith((".gif", ".png"), len(text)):
            name = name[: len(text) + len(".gif")]
            token = self._reader.read_token(Kind.OPEN, text, request)
            if token is not None and (on_disk := self._hits.record_hit(token, request.scope)):
                await on_disk
        metrics.pixel_sent(time.perf_counter() - started_s)
        return image_response(name)

    async def answer_click(self, request: Request) -> Response:
        started_s = time.perf_counter()
        token = self._reader.read_token(Kind.CLICK, request.path_params["token"], request)
        if token is not None and token.stored_reference:
            try:
                token = token._replace(url=await self._store.find_long_url(token.stored_reference) or b"")
            except DatabaseUnavailableError:
                return PlainTextResponse("Please try this link again in a minute.\n", 503, {"retry-after": "60"})
        if token is None or not can_redirect_to(token.url):
            return self._reader.bad_token_response(request)
        if on_disk := self._hits.record_hit(token, request.scope):
            await on_disk
        metrics.redirected(time.perf_counter() - started_s)
        return redirect_response(token.url)
