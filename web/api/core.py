"""The JSON API under `/api/v1`: the form of its answers.

In: requests with `Authorization: Bearer KEY` (RFC 6750).  Out: JSON; lists as `{"items": […], "next": CURSOR|null}`,
errors as `{"error": {"code", "message"}}`.

A resource is a list of routes, given to `make_api`; its endpoints return `json_response` or `list_response`, raise
`ApiError`, and are described by `web.api.openapi.documented`. All of it is behind `web.api.authorization`, except the
description.
"""

import re
from collections.abc import Sequence
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from relay import __version__
from relay.config.schema import Config
from relay.store.store import Store
from relay.store.views.json_objects import JsonObject
from web.api import openapi
from web.api.authorization import RequireApiKey
from web.middleware import SafeErrors

PATH = "/api/v1"
DESCRIPTION = "/api/openapi.json"
_MAX_ITEMS = 500  # items of a list
_DEFAULT_ITEMS = 50
_ERROR_CODES = {400: "bad_request", 401: "unauthorized", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}

BodyType = TypeVar("BodyType", bound=BaseModel)


class RequestBody(BaseModel):
    """What a request's body may say: nothing but its fields."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ApiError(Exception):
    """The request cannot be answered as the client wishes."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def json_response(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An object, as an answer that nothing caches."""
    return JSONResponse(value, status, {"cache-control": "no-store"} | (headers or {}))


def list_response(items: Sequence[JsonObject], cursor: str) -> Response:
    """A page of a list; `cursor` is where the next one begins, "" at the end."""
    return json_response({"items": items, "next": cursor or None})


def read_limit(request: Request) -> int:
    """How many items are asked for. Raises Fault."""
    text = request.query_params.get("limit", str(_DEFAULT_ITEMS))
    if not re.fullmatch(r"[0-9]{1,6}", text) or int(text) < 1:
        raise ApiError(400, "bad_request", "limit must be a number, 1 or more")
    return min(int(text), _MAX_ITEMS)


async def read_body(request: Request, form: type[BodyType]) -> BodyType:
    """What the body says. Raises Fault that names every field at fault."""
    try:
        return form.model_validate_json(await request.body())
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}" for one in error.errors())
        raise ApiError(422, "invalid", "; ".join(faults)) from None


def make_api(config: Config, store: Store, *resources: Sequence[BaseRoute]) -> Starlette:
    """The API, to be mounted at PATH."""
    app = Starlette(
        routes=[route for resource in resources for route in resource],
        middleware=[
            Middleware(SafeErrors, where="api", fault_response=_fault_response),
            Middleware(RequireApiKey, config=config, store=store, path=PATH, make_error=_error_response),
        ],
        exception_handlers={HTTPException: _handle_error, ApiError: _handle_error},
    )
    app.router.redirect_slashes = False
    return app


def description_route(*resources: Sequence[BaseRoute]) -> Route:
    """The route of the API's description, which tells nothing of this installation and needs no key."""
    document = openapi.openapi_document(resources, PATH, __version__)

    async def describe(request: Request) -> Response:
        return json_response(document)

    return Route(DESCRIPTION, describe)


def _error_response(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return json_response({"error": {"code": code, "message": message}}, status, headers)


async def _handle_error(request: Request, error: Exception) -> Response:
    if isinstance(error, ApiError):
        return _error_response(error.status, error.code, str(error))
    assert isinstance(error, HTTPException)
    code = _ERROR_CODES.get(error.status_code, "error")
    return _error_response(error.status_code, code, str(error.detail), dict(error.headers or {}))


def _fault_response(request: Request, fault_id: str) -> Response:
    return _error_response(500, "fault", f"the fault is ours, and is in the log as {fault_id}")


def is_api_path(path: str) -> bool:
    """True for a path that the API answers, by its own rules."""
    return path == PATH or path.startswith(f"{PATH}/")
