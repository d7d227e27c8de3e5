"""The applications, each a list of routes.

The tracking application is for recipients, under `tracking.public_url`. The console is for operators, on a listener of
its own. Metrics have a listener of their own if it is configured. None opens the store or a socket: the node does.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar
from urllib.parse import urlsplit

import sqlalchemy as sa
from cryptography import x509
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route, Router

from relay import tokens
from relay.config.schema import Config
from relay.store.store import Store
from web import api_paths, metrics, rendering
from web.api import core
from web.api.authorization import RequireApiKey
from web.api.resources import api_resources
from web.console.site import Console
from web.event_feed import EventFeed
from web.inbound.certificates import Fetch
from web.inbound.endpoint import MAX_BODY, ProviderWebhooks
from web.inbound.fetch import fetch_url
from web.middleware import HostNames, KnownHosts, SafeErrors
from web.public.ready_answers import ReadyAnswers
from web.public.tracking import HitRecorder, TokenReader, TrackingEndpoints
from web.public.unsubscribe import UnsubscribeEndpoint, configured_sender
from web.responses import image_response
from web.server.protocol import FindReadyAnswer

App = TypeVar("App", bound=Starlette)
_HEALTH_PATHS = ("/healthz", "/readyz")
_READY_TIMEOUT_S = 1.0
_MAX_BODY = 64 << 10  # octets; forms of ours and one-click bodies are far smaller


class TrackingApp(Starlette):
    """The application for recipients. `find_ready_answer` is called before it (`web.server.protocol`)."""

    find_ready_answer: FindReadyAnswer | None = None


def make_tracking_app(
    config: Config,
    store: Store,
    ring: tokens.KeyRing,
    fetch: Fetch = fetch_url,
    roots: Sequence[x509.Certificate] | None = None,
) -> TrackingApp:
    """`/o` `/c` `/u` `/in` `/healthz` `/readyz` `/robots.txt`, at the root and under the path of `public_url`.

    Under both, because a proxy in front may pass that path on or strip it. `roots` are the certificate authorities that
    may certify Amazon; None: those that the system trusts.
    """
    sender = configured_sender(config.unsubscribe)
    renderer = rendering.recipient_renderer(sender)
    hits = HitRecorder(config, store)
    reader = TokenReader(config, ring, renderer)
    opens_and_clicks = TrackingEndpoints(store, reader, hits)
    unsubscribe = UnsubscribeEndpoint(config, store, reader, hits, renderer, sender)
    routes: list[BaseRoute] = [
        Route("/o/{name:path}", opens_and_clicks.answer_pixel),
        Route("/c/{token:path}", opens_and_clicks.answer_click),
        Route("/u/{token:path}", unsubscribe.answer, methods=["GET", "POST"]),
        Route(
            "/in/{provider}",
            ProviderWebhooks(config, store, ring, fetch, roots).receive,
            methods=["POST"],
            max_body_size=MAX_BODY,
        ),
        Route("/healthz", _answer_healthz),
        Route("/readyz", _Readiness(store).answer),
        Route("/robots.txt", _answer_robots),
    ]
    prefix = urlsplit(config.tracking.public_url).path
    if prefix:
        # We make the router: that of Mount would redirect if a slash is missing, and we redirect to signed URLs only.
        routes.insert(0, Mount(prefix, app=Router(list(routes), redirect_slashes=False)))

    def render_fault(request: Request, fault_id: str) -> Response:
        if "/o/" in request.url.path:
            return image_response(request.url.path)
        return renderer.render("fault.html", 500, fault_id=fault_id)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await hits.flush()

    names = HostNames([urlsplit(config.tracking.public_url).hostname or "", *config.tracking.aliases])
    hosts = Middleware(
        KnownHosts,
        host_names=names,
        is_exempt=lambda path: path.endswith(_HEALTH_PATHS),
        unknown_response=lambda: renderer.render("error.html", 404),
    )
    guard = Middleware(SafeErrors, where="tracking", fault_response=render_fault)
    app = _make_app(TrackingApp, routes, renderer, guard, hosts, lifespan=lifespan)
    app.find_ready_answer = ReadyAnswers(ring, hits, names, prefix).find
    return app


def make_console_app(config: Config, store: Store, ring: tokens.KeyRing) -> Starlette:
    """The pages of the operators, all behind the login but `/healthz`, `/login` and the style sheet; the JSON API."""
    feed = EventFeed(store)
    operator = Console(config, store, ring, feed)
    resources = api_resources(config, store, ring, feed)

    def render_fault(request: Request, fault_id: str) -> Response:
        return operator.renderer.render("fault.html", 500, fault_id=fault_id, account="")

    guard = Middleware(SafeErrors, where="console", fault_response=render_fault)
    hosts = Middleware(
        KnownHosts,
        host_names=HostNames(
            [*config.console.hosts, config.console.listen.host, config.relay.hostname, socket.gethostname()],
            any_address=True,
        ),
        # Requests to the last two carry keys, which no browser sends by itself.
        is_exempt=lambda path: path in (*_HEALTH_PATHS, metrics.PATH) or api_paths.is_api_path(path),
        unknown_response=lambda: operator.renderer.render("error.html", 421, account=""),
    )
    metrics_page = RequireApiKey(
        Router([Route(metrics.PATH, metrics.MetricsPage(config, store).show)]),
        config=config,
        store=store,
        path="",
        make_error=metrics.refusal_response,
    )
    routes = [
        Route("/healthz", _answer_healthz),
        Route(metrics.PATH, metrics_page),
        *operator.routes(),
        core.description_route(*resources),
        core.ApiMount(config, store, *resources),
    ]
    return _make_app(
        Starlette, routes, operator.renderer, guard, hosts, *operator.middleware(), render_error=operator.render_error
    )


def make_metrics_app(config: Config, store: Store) -> Starlette:
    """`/metrics` `/healthz` `/readyz` on a listener of their own, without a key."""
    routes = [
        Route(metrics.PATH, metrics.MetricsPage(config, store).show),
        Route("/healthz", _answer_healthz),
        Route("/readyz", _Readiness(store).answer),
    ]
    return Starlette(routes=routes, middleware=[Middleware(SafeErrors, where="metrics", fault_response=_plain_fault)])


def _plain_fault(request: Request, fault_id: str) -> Response:
    return PlainTextResponse(f"the fault is ours, and is in the log as {fault_id}\n", 500)


def _make_app(
    make: type[App],
    routes: list[BaseRoute],
    renderer: rendering.TemplateRenderer,
    *middleware: Middleware,
    lifespan: "rendering.Lifespan | None" = None,
    render_error: Callable[[Request, HTTPException], Response] | None = None,
) -> App:
    async def refuse(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if render_error:
            return render_error(request, error)
        return renderer.render("error.html", error.status_code, error.headers, account="")

    guard, *others = middleware
    # Inside of the guard, so that this answer has the same headers as all others.
    body_limit = Middleware(RequestBodyLimitMiddleware, max_body_size=_MAX_BODY)
    app = make(
        routes=routes,
        middleware=[guard, body_limit, *others],
        exception_handlers={HTTPException: refuse},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


async def _answer_healthz(request: Request) -> Response:
    return PlainTextResponse("ok\n", headers={"cache-control": "no-store"})


async def _answer_robots(request: Request) -> Response:
    return PlainTextResponse("User-agent: *\nDisallow: /\n")


class _Readiness:
    """Answers load balancers whether the database answers. Links work without it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def answer(self, request: Request) -> Response:
        try:
            async with asyncio.timeout(_READY_TIMEOUT_S):
                await self._store.read(lambda connection: connection.scalar(sa.select(1)))
        except (sa.exc.SQLAlchemyError, TimeoutError):
            return PlainTextResponse("the database does not answer\n", 503, headers={"cache-control": "no-store"})
        return PlainTextResponse("ok\n", headers={"cache-control": "no-store"})
