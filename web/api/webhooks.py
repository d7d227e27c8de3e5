"""The API's webhooks: `GET|POST webhooks`, `GET|DELETE webhooks/ID`, its log, and what is done with it.

In: requests behind the API's gate.  Out: JSON, as web.api.core says. A secret is in the answer that
makes it, and never again.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Literal, TypeVar
from urllib.parse import urlsplit

import sqlalchemy as sa
from pydantic import Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from relay import public_addresses, tokens
from relay.config import values
from relay.config.schema import Config
from relay.config.webhook import WebhookConfig as Configured
from relay.store.store import Store
from relay.store.views import webhook_objects
from relay.store.views.json_objects import JsonObject
from relay.store.webhooks import endpoints
from web.api.core import PATH, Body, Fault, answer, body, limit, listed
from web.api.openapi import PAGED, says

T = TypeVar("T")
_RESOLVE_FOR_S = 2.0


class Webhooks:
    """Who is told of events."""

    class _New(Body):
        url: str
        events: list[str] = Field(default=["*"])
        format: Literal["waypost", "postmark", "sendgrid", "mailgun"] = "waypost"
        secret: str = ""
        machines: bool = False

    class _Again(Body):
        event: str = ""
        since: str = ""

    def __init__(self, config: Config, store: Store, ring: tokens.KeyRing) -> None:
        self._config = config
        self._store = store
        self._ring = ring

    def routes(self) -> list[BaseRoute]:
        one = "/webhooks/{webhook}"
        return [
            Route("/webhooks", self.listing),
            Route("/webhooks", self.create, methods=["POST"]),
            Route(one, self.one),
            Route(one, self.remove, methods=["DELETE"]),
            Route("/webhooks", self.remove, methods=["DELETE"]),  # ?id=
            Route(f"{one}/log", self.log),
            Route(f"{one}/replay", self.replay, methods=["POST"]),
            Route(f"{one}/enable", self.enable, methods=["POST"]),
            Route(f"{one}/disable", self.disable, methods=["POST"]),
            Route(f"{one}/rotate", self.rotate, methods=["POST"]),
        ]

    @says("Webhooks, with their state")
    async def listing(self, request: Request) -> Response:
        found = await self._store.read(endpoints.list_webhook_status)
        return listed([webhook_objects.webhook_object(one, self._ring) for one in found], "")

    @says("Add a webhook; the answer has its secret, once", takes=_New, status=201)
    async def create(self, request: Request) -> Response:
        new = await body(request, self._New)
        given = await configured(new.model_dump(), self._config)
        made = await self._store.write(
            lambda connection: endpoints.add_webhook(connection, given, datetime.now(UTC), endpoints.DATABASE)
        )
        shown = await self._shown(made.id) | {"secret": made.secret}
        return answer(shown, 201, {"location": f"{PATH}/webhooks/{made.id}"})

    @says("A webhook")
    async def one(self, request: Request) -> Response:
        return answer(await self._shown(_id(request)))

    @says("Remove a webhook", status=204)
    async def remove(self, request: Request) -> Response:
        await self._write(lambda connection: endpoints.remove_webhook(connection, _id(request)))
        return Response(status_code=204)

    @says("Enable it: events are sent again")
    async def enable(self, request: Request) -> Response:
        await self._write(lambda connection: endpoints.enable_webhook(connection, _id(request), datetime.now(UTC)))
        return answer(await self._shown(_id(request)))

    @says("Disable it: nothing more is sent")
    async def disable(self, request: Request) -> Response:
        await self._write(lambda connection: endpoints.disable_webhook(connection, _id(request)))
        return answer(await self._shown(_id(request)))

    @says("Make a new secret; the answer has it, once")
    async def rotate(self, request: Request) -> Response:
        secret = await self._write(
            lambda connection: endpoints.rotate_secret(connection, _id(request), datetime.now(UTC))
        )
        return answer(await self._shown(_id(request)) | {"secret": secret})

    @says("Its requests and their answers", query={**PAGED, "failed": "`1`: only what failed"})
    async def log(self, request: Request) -> Response:
        most, before = limit(request), request.query_params.get("cursor", "")
        failed = request.query_params.get("failed", "") in ("1", "true", "yes")
        await self._shown(_id(request))
        found = await self._store.read(
            lambda connection: endpoints.list_webhook_log(connection, _id(request), most + 1, before, failed=failed)
        )
        shown = found[:most]
        return listed(
            [webhook_objects.webhook_log_object(one) for one in shown], shown[-1].id if len(found) > most else ""
        )

    @says("Send an event again, or all since a time", takes=_Again, status=202)
    async def replay(self, request: Request) -> Response:
        again, now = await body(request, self._Again), datetime.now(UTC)
        if bool(again.event) is bool(again.since):
            raise Fault(422, "invalid", 'say either {"event": ID} or {"since": "12h"}')
        if again.event:
            known = await self._write(
                lambda connection: endpoints.replay_event(connection, _id(request), again.event, now)
            )
            if not known:
                raise Fault(404, "not_found", f"there is no event {again.event}")
            return answer({"replayed": 1}, 202)
        return answer({"replayed": await replayed(self._store, _id(request), now, _age(again.since))}, 202)

    async def _shown(self, webhook: str) -> JsonObject:
        found = await self._store.read(lambda connection: endpoints.list_webhook_status(connection, [webhook]))
        if not found:
            raise HTTPException(404)
        return webhook_objects.webhook_object(found[0], self._ring)

    async def _write(self, work: Callable[[sa.Connection], T]) -> T:
        try:
            return await self._store.write(work)
        except endpoints.UnknownWebhookError:
            raise HTTPException(404) from None
        except ValueError as error:
            raise Fault(409, "conflict", str(error)) from None


async def configured(given: dict[str, object], config: Config) -> Configured:
    """A webhook as it may be added. Raises Fault that names every field at fault."""
    try:
        wanted = Configured.model_validate(given)
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise Fault(422, "invalid", "; ".join(faults)) from None
    parts = urlsplit(wanted.url)
    try:
        # Each connection is judged again; here whoever adds it learns why it would never work.
        async with asyncio.timeout(_RESOLVE_FOR_S):
            await public_addresses.resolve_public(parts.hostname or "", parts.port or 443, config.webhook_networks)
    except public_addresses.NotPublicError as error:
        raise Fault(422, "invalid", f"url: {error}") from None
    except (OSError, UnicodeError, TimeoutError):  # its name may be in the DNS later
        pass
    return wanted


async def replayed(store: Store, webhook: str, now: datetime, age: timedelta) -> int:
    """Owes it again what happened within that time; returns how many events. Raises HTTPException."""
    count, after = 0, ""
    while True:
        work = partial(endpoints.replay_events, webhook=webhook, now=now, since=now - age, until=now, after=after)
        try:
            some, after = await store.write(work)
        except endpoints.UnknownWebhookError:
            raise HTTPException(404) from None
        count += some
        if not after:
            return count


def _age(text: str) -> timedelta:
    try:
        return values.read_duration(text)
    except ValueError as error:
        raise Fault(422, "invalid", f"since: {error}") from None


def _id(request: Request) -> str:
    return str(request.path_params.get("webhook") or request.query_params.get("id", ""))
