"""The API's webhooks: `GET|POST webhooks`, `GET|DELETE webhooks/ID`, its log and its actions.

In: requests behind the API's gate.  Out: JSON, in the form of `web.api.answers`. Only the answer to the request that
makes a secret contains it.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import sqlalchemy as sa
from pydantic import ConfigDict, Field, RootModel, WithJsonSchema
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from relay import tokens
from relay.config import values
from relay.config.schema import Config
from relay.event_type import EventType
from relay.store.console.audit_log import AuditedChange
from relay.store.store import Store
from relay.store.views import webhook_objects
from relay.store.views.json_objects import JsonObject
from relay.store.webhooks import endpoints
from relay.webhook_format import WAYPOST, WebhookFormat
from web import audited, webhook_changes
from web.api.answers import ApiError, RequestBody, json_response, list_response, read_body
from web.api.openapi import documented
from web.api.parameters import Duration, PageParameters, QueryParameters, Text, read_query
from web.api.webhook_schemas import ReplayAnswer, WebhookList, WebhookLogList, WebhookObject, WebhookWithSecret
from web.api_paths import PATH
from web.webhook_changes import InvalidWebhookError

T = TypeVar("T")


# The reader of the configuration checks more than this pattern says.
_URL_SCHEMA = {
    "type": "string",
    "pattern": r'^https?://[a-z0-9]{1,20}([.][a-z]{2,10}){1,3}(:[1-9][0-9]{0,3})?(/[!-"$-~]{0,1000})?$',
    "examples": ["https://app.example.com/hooks/mail"],
}
WebhookUrlText = Annotated[str, WithJsonSchema(_URL_SCHEMA)]
WebhookEventName = Annotated[str, WithJsonSchema({"type": "string", "enum": ["*", *EventType]})]


class NewWebhook(RequestBody):
    url: WebhookUrlText
    events: list[WebhookEventName] = Field(default=["*"], min_length=1)
    format: WebhookFormat = WAYPOST
    secret: str = Field(default="", max_length=500, description="whsec_ and base64, or any other text")
    machines: bool = False


class ReplayOfEvent(RequestBody):
    event: str = Field(min_length=1, max_length=100)


class ReplaySince(RequestBody):
    since: Duration


class ReplayRequest(RootModel[ReplayOfEvent | ReplaySince]):
    """An event, or all since so long ago."""

    model_config = ConfigDict(strict=True)


class LogParameters(PageParameters):
    failed: bool = Field(default=False, description="only what failed")


class WebhookParameters(QueryParameters):
    id: Text


class WebhookApi:
    """The endpoints under `webhooks`."""

    def __init__(self, config: Config, store: Store, ring: tokens.KeyRing) -> None:
        self._config = config
        self._store = store
        self._ring = ring

    def routes(self) -> list[BaseRoute]:
        one = "/webhooks/{webhook}"
        return [
            Route("/webhooks", self.list_webhooks),
            Route("/webhooks", self.create_webhook, methods=["POST"]),
            Route(one, self.show_webhook),
            Route(one, self.remove_webhook, methods=["DELETE"]),
            Route("/webhooks", self.remove_named_webhook, methods=["DELETE"]),
            Route(f"{one}/log", self.show_log),
            Route(f"{one}/replay", self.replay_events, methods=["POST"]),
            Route(f"{one}/enable", self.enable_webhook, methods=["POST"]),
            Route(f"{one}/disable", self.disable_webhook, methods=["POST"]),
            Route(f"{one}/rotate", self.rotate_secret, methods=["POST"]),
        ]

    @documented("Webhooks, with their state", response=WebhookList)
    async def list_webhooks(self, request: Request) -> Response:
        found = await self._store.read(endpoints.list_webhook_status)
        return list_response([webhook_objects.webhook_object(one, self._ring) for one in found], "")

    @documented("Add a webhook; the answer has its secret, once", NewWebhook, status=201, response=WebhookWithSecret)
    async def create_webhook(self, request: Request) -> Response:
        new = await read_body(request, NewWebhook)
        try:
            made = await webhook_changes.create_webhook(self._store, request, new.model_dump(), self._config)
        except InvalidWebhookError as error:
            raise ApiError(422, "invalid", str(error)) from None
        shown = await self._webhook_json(made.id) | {"secret": made.secret}
        return json_response(shown, 201, {"location": f"{PATH}/webhooks/{made.id}"})

    @documented("A webhook", response=WebhookObject)
    async def show_webhook(self, request: Request) -> Response:
        return json_response(await self._webhook_json(_webhook_id(request)))

    @documented("Remove a webhook", status=204)
    async def remove_webhook(self, request: Request) -> Response:
        return await self._remove(request, _webhook_id(request))

    @documented("Remove the webhook of that id", query=WebhookParameters, status=204)
    async def remove_named_webhook(self, request: Request) -> Response:
        return await self._remove(request, read_query(request, WebhookParameters).id)

    async def _remove(self, request: Request, webhook: str) -> Response:
        change = AuditedChange("webhook.remove", webhook)
        await self._write_known(request, change, lambda connection: endpoints.remove_webhook(connection, webhook))
        return Response(status_code=204)

    @documented("Enable it: events are sent again", response=WebhookObject)
    async def enable_webhook(self, request: Request) -> Response:
        await self._write_known(
            request,
            AuditedChange("webhook.enable", _webhook_id(request)),
            lambda connection: endpoints.enable_webhook(connection, _webhook_id(request), datetime.now(UTC)),
        )
        return json_response(await self._webhook_json(_webhook_id(request)))

    @documented("Disable it: nothing more is sent", response=WebhookObject)
    async def disable_webhook(self, request: Request) -> Response:
        await self._write_known(
            request,
            AuditedChange("webhook.disable", _webhook_id(request)),
            lambda connection: endpoints.disable_webhook(connection, _webhook_id(request)),
        )
        return json_response(await self._webhook_json(_webhook_id(request)))

    @documented("Make a new secret; the answer has it, once", response=WebhookWithSecret)
    async def rotate_secret(self, request: Request) -> Response:
        secret = await self._write_known(
            request,
            AuditedChange("webhook.rotate", _webhook_id(request)),
            lambda connection: endpoints.rotate_secret(connection, _webhook_id(request), datetime.now(UTC)),
        )
        return json_response(await self._webhook_json(_webhook_id(request)) | {"secret": secret})

    @documented("Its requests and their answers", query=LogParameters, response=WebhookLogList)
    async def show_log(self, request: Request) -> Response:
        asked = read_query(request, LogParameters)
        most, before = asked.limit, asked.cursor
        await self._webhook_json(_webhook_id(request))
        found = await self._store.read(
            lambda connection: endpoints.list_webhook_log(
                connection, _webhook_id(request), most + 1, before, only_failed=asked.failed
            )
        )
        shown = found[:most]
        return list_response(
            [webhook_objects.webhook_log_object(one) for one in shown], shown[-1].id if len(found) > most else ""
        )

    @documented("Send an event again, or all since a time", ReplayRequest, status=202, response=ReplayAnswer)
    async def replay_events(self, request: Request) -> Response:
        again, now = (await read_body(request, ReplayRequest)).root, datetime.now(UTC)
        if isinstance(again, ReplayOfEvent):
            event = again.event
            known = await self._write_known(
                request,
                AuditedChange("webhook.replay", _webhook_id(request)),
                lambda connection: endpoints.replay_event(connection, _webhook_id(request), event, now),
                count=int,
            )
            if not known:
                raise ApiError(409, "conflict", f"there is no event {event}")
            return json_response({"replayed": 1}, 202)
        since = values.read_duration(again.since)
        count = await webhook_changes.replay_events_since(self._store, request, _webhook_id(request), now, since)
        return json_response({"replayed": count}, 202)

    async def _webhook_json(self, webhook: str) -> JsonObject:
        found = await self._store.read(lambda connection: endpoints.list_webhook_status(connection, [webhook]))
        if not found:
            raise HTTPException(404, "there is no such webhook")
        return webhook_objects.webhook_object(found[0], self._ring)

    async def _write_known(
        self,
        request: Request,
        change: AuditedChange,
        work: Callable[[sa.Connection], T],
        count: Callable[[T], int] = lambda _: 1,
    ) -> T:
        try:
            return await audited.write(self._store, request, change, work, count)
        except endpoints.UnknownWebhookError:
            raise HTTPException(404, "there is no such webhook") from None
        except ValueError as error:
            raise ApiError(409, "conflict", str(error)) from None


def _webhook_id(request: Request) -> str:
    return str(request.path_params["webhook"])
