"""The JSON API under `/api/v1`: the form of its answers, and its resources.

In: requests with `Authorization: Bearer KEY` (RFC 6750).  Out: JSON; lists as `{"items": […], "next": CURSOR|null}`,
errors as `{"error": {"code", "message"}}`.

A resource is a list of routes, given to `application`; its endpoints return `answer` or `listed`, raise `Fault`, and
tell `web.api.openapi` what they are. Everything here is behind `web.api.authorization`, but the description.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from relay import __version__, address, tokens
from relay.config.schema import Config
from relay.store.recipients import consent
from relay.store.recipients.consent import ConsentChange
from relay.store.store import Store
from relay.store.tracking import pixels
from relay.store.views import json_objects
from relay.store.views.json_objects import JsonObject
from web.api import openapi
from web.api.authorization import Gate
from web.api.openapi import says
from web.middleware import Guard

PATH = "/api/v1"
DESCRIPTION = "/api/openapi.json"
_MOST = 500  # items of a list
_USUAL = 50
_CODES = {400: "bad_request", 401: "unauthorized", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}

Given = TypeVar("Given", bound=BaseModel)


class Body(BaseModel):
    """What a request's body may say: nothing but its fields."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Fault(Exception):
    """The request cannot be answered as the client wishes."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def answer(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An object, as an answer that nothing caches."""
    return JSONResponse(value, status, {"cache-control": "no-store"} | (headers or {}))


def listed(items: Sequence[JsonObject], cursor: str) -> Response:
    """A page of a list; `cursor` is where the next one begins, "" at the end."""
    return answer({"items": items, "next": cursor or None})


def limit(request: Request) -> int:
    """How many items are asked for. Raises Fault."""
    text = request.query_params.get("limit", str(_USUAL))
    if not re.fullmatch(r"[0-9]{1,6}", text) or int(text) < 1:
        raise Fault(400, "bad_request", "limit must be a number, 1 or more")
    return min(int(text), _MOST)


async def body(request: Request, form: type[Given]) -> Given:
    """What the body says. Raises Fault that names every field at fault."""
    try:
        return form.model_validate_json(await request.body())
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}" for one in error.errors())
        raise Fault(422, "invalid", "; ".join(faults)) from None


def application(config: Config, store: Store, *resources: Sequence[BaseRoute]) -> Starlette:
    """The API, to be mounted at PATH."""
    app = Starlette(
        routes=[route for resource in resources for route in resource],
        middleware=[
            Middleware(Guard, where="api", fault=_fault),
            Middleware(Gate, config=config, store=store, path=PATH, refuse=_error),
        ],
        exception_handlers={HTTPException: _refuse, Fault: _refuse},
    )
    app.router.redirect_slashes = False
    return app


def description(*resources: Sequence[BaseRoute]) -> Route:
    """The route of the API's description, which tells nothing of this installation and needs no key."""
    told = openapi.document(resources, PATH, __version__)

    async def describe(request: Request) -> Response:
        return answer(told)

    return Route(DESCRIPTION, describe)


def routes(config: Config, store: Store, ring: tokens.KeyRing) -> list[Sequence[BaseRoute]]:
    """All resources."""
    return [Pixels(config, store, ring).routes(), Consents(store).routes()]


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return answer({"error": {"code": code, "message": message}}, status, headers)


async def _refuse(request: Request, error: Exception) -> Response:
    if isinstance(error, Fault):
        return _error(error.status, error.code, str(error))
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "error")
    return _error(error.status_code, code, str(error.detail), dict(error.headers or {}))


def _fault(request: Request, fault_id: str) -> Response:
    return _error(500, "fault", f"the fault is ours, and is in the log as {fault_id}")


class Pixels:
    """`GET|POST pixels`, `GET|DELETE pixels/ID`."""

    class _New(Body):
        name: str

    def __init__(self, config: Config, store: Store, ring: tokens.KeyRing) -> None:
        self._public_url = config.tracking.public_url
        self._store = store
        self._ring = ring

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/pixels", self.listing),
            Route("/pixels", self.create, methods=["POST"]),
            Route("/pixels/{pixel}", self.one),
            Route("/pixels/{pixel}", self.remove, methods=["DELETE"]),
        ]

    @says("Stand-alone pixels, the newest first", query=openapi.PAGED)
    async def listing(self, request: Request) -> Response:
        most, before = limit(request), request.query_params.get("cursor", "")
        found = await self._store.read(lambda connection: pixels.list_pixels(connection, most + 1, before))
        shown = found[:most]
        return listed(
            [json_objects.pixel_object(one, self._public_url) for one in shown],
            shown[-1].id if len(found) > most else "",
        )

    @says("Make a pixel", takes=_New, status=201)
    async def create(self, request: Request) -> Response:
        new = await body(request, self._New)
        try:
            made = await self._store.write(
                lambda connection: pixels.create_pixel(connection, self._ring, new.name, datetime.now(UTC))
            )
        except pixels.NameTakenError as error:
            raise Fault(409, "name_taken", str(error)) from None
        except ValueError as error:
            raise Fault(422, "invalid", f"name: {error}") from None
        return answer(
            json_objects.pixel_object(made, self._public_url, []), 201, {"location": f"{PATH}/pixels/{made.id}"}
        )

    @says("A pixel with its log, quick repeats together")
    async def one(self, request: Request) -> Response:
        wanted = request.path_params["pixel"]
        seen, hits = await self._store.read(
            lambda connection: (pixels.find_pixel(connection, wanted), pixels.list_pixel_log(connection, wanted))
        )
        if seen is None or seen.id != wanted:
            raise HTTPException(404)
        return answer(json_objects.pixel_object(seen, self._public_url, hits))

    @says("Remove a pixel and its log; its address goes on showing a picture", status=204)
    async def remove(self, request: Request) -> Response:
        wanted = request.path_params["pixel"]
        if not await self._store.write(lambda connection: pixels.remove_pixel(connection, wanted)):
            raise HTTPException(404)
        return Response(status_code=204)


class Consents:
    """`GET|PUT|DELETE consent/ADDRESS`: whether opens and clicks of that address are recorded."""

    class _Said(Body):
        consent: bool

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/consent/{address:path}", self.show),
            Route("/consent/{address:path}", self.say, methods=["PUT"]),
            Route("/consent/{address:path}", self.take_back, methods=["DELETE"]),
        ]

    @says("What an address said about being tracked")
    async def show(self, request: Request) -> Response:
        return await self._standing(_mailbox(request))

    @says("Say yes or no for an address; also for mail already sent", takes=_Said)
    async def say(self, request: Request) -> Response:
        mailbox = _mailbox(request)
        said = await body(request, self._Said)
        return await self._decide(mailbox, said.consent)

    @says("Forget what was said")
    async def take_back(self, request: Request) -> Response:
        return await self._decide(_mailbox(request), None)

    async def _decide(self, mailbox: str, is_yes: bool | None) -> Response:
        wish = ConsentChange([mailbox], datetime.now(UTC), is_yes, consent.API)
        await self._store.write(lambda connection: consent.change_consent(connection, wish))
        return await self._standing(mailbox)

    async def _standing(self, mailbox: str) -> Response:
        said, untracked = await self._store.read(
            lambda connection: (
                consent.find_consent(connection, mailbox),
                consent.find_untracked(connection, [mailbox]),
            )
        )
        return answer(
            {
                "address": mailbox,
                "consent": said["is_yes"] if said else None,
                "source": said["source"] if said else None,
                "at": json_objects.format_time(said["at"]) if said else None,
                "tracked": not untracked,
            }
        )


def _mailbox(request: Request) -> str:
    try:
        mailbox = address.parse_path(f"<{request.path_params['address']}>").mailbox
    except (address.PathSyntaxError, UnicodeEncodeError):
        mailbox = address.NULL
    if not address.domain(mailbox):
        raise Fault(400, "bad_request", "that is no mail address")
    return mailbox


def is_api(path: str) -> bool:
    """True for a path that the API answers, by its own rules."""
    return path == PATH or path.startswith(f"{PATH}/")
