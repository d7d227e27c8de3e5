"""The API's keys: `GET|POST keys`, `DELETE keys/NAME`.

In: requests behind the API's gate; only a key that may do everything makes and ends keys.  Out: JSON, in the form of
`web.api.answers`. Only the answer to the request that makes a key contains it.
"""

from datetime import UTC, datetime
from functools import partial
from typing import Annotated

import sqlalchemy as sa
from pydantic import AfterValidator, AwareDatetime, Field, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from relay.store.console import api_keys
from relay.store.console.audit_log import AuditedChange
from relay.store.store import Store
from relay.store.views import json_objects
from relay.store.views.json_objects import JsonObject
from web import audited
from web.api.answers import ApiError, RequestBody, json_response, list_response, read_body
from web.api.openapi import documented
from web.api.parameters import MustMatch
from web.api.schemas import ApiKeyList, ApiKeyWithSecret
from web.api_paths import PATH

_SCOPES = (api_keys.ALL, *api_keys.SCOPES)


def _check_scope(text: str) -> str:
    if text not in _SCOPES:
        raise ValueError(f"there is no scope {text!r}; one of {', '.join(_SCOPES)}")
    return text


KeyScope = Annotated[str, AfterValidator(_check_scope), WithJsonSchema({"type": "string", "enum": list(_SCOPES)})]


_NAME_FAULT = "must be 1 to 64 letters, digits, dots, underscores and hyphens, a letter or digit first"
KeyName = Annotated[str, MustMatch("[A-Za-z0-9][A-Za-z0-9._-]{0,63}", _NAME_FAULT)]


class NewApiKey(RequestBody):
    name: KeyName
    scopes: list[KeyScope] = Field(min_length=1, max_length=len(_SCOPES))
    expires_at: AwareDatetime | None = None


class ApiKeyApi:
    """The endpoints under `keys`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/keys", self.list_keys),
            Route("/keys", self.create_key, methods=["POST"]),
            Route("/keys/{name}", self.revoke_key, methods=["DELETE"]),
        ]

    @documented("The keys of this API, without themselves", response=ApiKeyList)
    async def list_keys(self, request: Request) -> Response:
        rows = await self._store.read(api_keys.list_keys)
        return list_response([_key_object(row) for row in rows], "")

    @documented("Make a key; the answer has it, once", NewApiKey, status=201, response=ApiKeyWithSecret)
    async def create_key(self, request: Request) -> Response:
        new, now = await read_body(request, NewApiKey), datetime.now(UTC)
        scopes = sorted(set(new.scopes))
        made = await audited.write(
            self._store,
            request,
            AuditedChange("api_key.create", new.name, detail=", ".join(scopes)),
            lambda connection: api_keys.create_key(connection, new.name, now, scopes, new.expires_at),
            count=lambda key: int(key is not None),
        )
        if made is None:
            raise ApiError(409, "name_taken", f"there is a key {new.name} already")
        row = {"name": new.name, "scopes": scopes, "created_at": now, "expires_at": new.expires_at, "used_at": None}
        return json_response(_key_object(row) | {"key": made}, 201, {"location": f"{PATH}/keys/{new.name}"})

    @documented("End a key at once", status=204)
    async def revoke_key(self, request: Request) -> Response:
        name = request.path_params["name"]
        change = AuditedChange("api_key.revoke", name)
        await audited.remove(self._store, request, change, partial(api_keys.revoke_key, name=name), "key")
        return Response(status_code=204)


def _key_object(row: "sa.RowMapping | JsonObject") -> JsonObject:
    times = {name: json_objects.format_time(row[name]) for name in ("created_at", "expires_at", "used_at")}
    return {"name": row["name"], "scopes": row["scopes"]} | times
