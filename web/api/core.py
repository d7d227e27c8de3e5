"""The JSON API under `/api/v1`: its routes put together, and what it answers where no endpoint does.

In: requests with `Authorization: Bearer KEY` (RFC 6750).  Out: JSON; lists as `{"items": […], "next": CURSOR|null}`,
errors as `{"error": {"code", "message"}}`.

A resource is a list of routes, given to `make_api`; its endpoints return what `web.api.answers` makes, raise
`ApiError`, and are described by `web.api.openapi.documented`. All of it is behind `web.api.authorization`, except the
description.
"""

import functools
import sys
from collections.abc import Sequence

import sqlalchemy as sa
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from relay import __version__
from relay.config.schema import Config
from relay.store.database import errors
from relay.store.store import Store
from web.api import openapi
from web.api.answers import ApiError, error_response, json_response
from web.api.authorization import RequireApiKey
from web.api.idempotency import make_idempotent
from web.api_paths import DESCRIPTION, PATH, is_api_path
from web.middleware import SafeErrors

MAX_BODY = 64 << 10  # octets
BULK_PATH, MAX_BULK_BODY = "/suppressions/bulk", 4 << 20
_ERROR_CODES = {400: "bad_request", 401: "unauthorized", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}


class ApiMount(Mount):
    """Takes every path under PATH, with any octets, so that no page of the console answers there."""

    def __init__(self, config: Config, store: Store, *resources: Sequence[BaseRoute]) -> None:
        super().__init__(PATH, make_api(config, store, *resources))

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http" or not is_api_path(scope["path"]):
            return Match.NONE, {}
        root_path = scope.get("root_path", "")
        child = {"app_root_path": scope.get("app_root_path", root_path), "root_path": root_path + PATH}
        return Match.FULL, child | {"endpoint": self.app, "path_params": dict(scope.get("path_params", {}))}


class BodyLimits:
    """The limit of a body's size, by path. A larger one gets an error in the API's form, also if no endpoint reads
    it."""

    def __init__(self, app: ASGIApp) -> None:
        self._limited = {limit: RequestBodyLimitMiddleware(app, limit) for limit in (MAX_BODY, MAX_BULK_BODY)}
        # The limit around this application would answer in another form.
        self._refuse = RequestBodyLimitMiddleware(self._answer_too_large, sys.maxsize)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_bulk = scope["path"].removeprefix(PATH).startswith(BULK_PATH)
        limit = MAX_BULK_BODY if is_bulk else MAX_BODY
        declared = Headers(scope=scope).get("content-length", "")
        is_over = declared.isascii() and declared.isdecimal() and int(declared[:19]) > limit
        await (self._refuse if is_over else self._limited[limit])(scope, receive, send)

    @staticmethod
    async def _answer_too_large(scope: Scope, receive: Receive, send: Send) -> None:
        await error_response(413, "too_large", "the body is too large")(scope, receive, send)


def make_api(config: Config, store: Store, *resources: Sequence[BaseRoute]) -> Starlette:
    """The API, to be mounted at PATH."""
    routes = [route for resource in resources for route in resource]
    for route in routes:
        if isinstance(route, Route):
            make_idempotent(route, store)

    async def handle_error(request: Request, error: Exception) -> Response:
        if isinstance(error, ApiError):
            return error_response(error.status, error.code, str(error))
        assert isinstance(error, HTTPException)
        headers = {name.lower(): value for name, value in (error.headers or {}).items()}
        if error.status_code == 405:  # Starlette names the methods of one route only
            headers["allow"] = ", ".join(_allowed_methods(routes, request.scope))
        code = _ERROR_CODES.get(error.status_code, "error")
        return error_response(error.status_code, code, str(error.detail), headers)

    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(SafeErrors, where="api", fault_response=_fault_response),
            Middleware(BodyLimits),
            Middleware(RequireApiKey, config=config, store=store, path=PATH, make_error=error_response),
        ],
        exception_handlers={
            HTTPException: handle_error,
            ApiError: handle_error,
            sa.exc.SQLAlchemyError: _handle_database_error,
        },
    )
    app.router.redirect_slashes = False
    return app


def description_route(*resources: Sequence[BaseRoute]) -> Route:
    """The route of the API's description, which contains nothing of this installation and needs no key."""

    @functools.cache  # made when it is first asked for, in 0.15 s: most roles never need it
    def make_document() -> openapi.Json:
        return openapi.openapi_document(resources, PATH, __version__)

    async def describe(request: Request) -> Response:
        return json_response(await run_in_threadpool(make_document))

    return Route(DESCRIPTION, describe)


def _allowed_methods(routes: Sequence[BaseRoute], scope: Scope) -> list[str]:
    """The methods of all routes with that path. RFC 9110 §15.5.6."""
    there = [route for route in routes if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE]
    return sorted({method for route in there for method in route.methods or ()})


async def _handle_database_error(request: Request, error: Exception) -> Response:
    if not errors.is_database_fault(error):
        raise error
    return error_response(503, "unavailable", "the database does not answer; try again", {"retry-after": "5"})


def _fault_response(request: Request, fault_id: str) -> Response:
    return error_response(500, "fault", f"the fault is ours, and is in the log as {fault_id}")
