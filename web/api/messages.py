"""The API's messages: `GET messages`, which may wait for one, and `GET messages/ID`.

In: requests behind the API's gate.  Out: JSON, in the form of `web.api.answers`.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, NamedTuple

import sqlalchemy as sa
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from relay.store.database.tables import Status
from relay.store.store import Store
from relay.store.views import json_objects, message_detail, message_search, search_query
from relay.store.views.message_detail import MessageDetail
from relay.store.views.search_query import MessageSearch
from web import shutdown
from web.api.answers import ApiError, json_response, list_response
from web.api.message_schemas import MessageList, MessageObject
from web.api.openapi import documented
from web.api.parameters import Moment, MustMatch, PageParameters, QueryParameters, Seconds, Stream, Text, read_query

MAX_WAIT = timedelta(seconds=60)
_MAX_WAITING = 50  # requests at a time
_POLL_S, _SLOW_POLL_S = 0.2, 0.5  # how often we look, in the first seconds and later
_FAST_FOR_S = 5.0


Metadata = Annotated[str, MustMatch("[^:=]+[:=][^:=].*", "must be NAME:VALUE, such as order:1047")]


class SearchParameters(QueryParameters):
    """A search: all parameters must hold."""

    q: str = Field(
        default="",
        min_length=1,
        max_length=search_query.MAX_TEXT,
        description="words, and operators: " + " ".join(f"{name}:" for name in search_query.OPERATORS),
        examples=["to:ann@example.com status:bounced after:7d"],
    )
    status: Status | None = Field(default=None, description="of a delivery; of the recipient's, where one is named")
    recipient: Text = Field(default="", description="an address, or a part of one")
    tag: Text = ""
    stream: Stream = ""
    message_id: Text = Field(default="", description="the header field, with or without brackets")
    metadata: Metadata | None = Field(default=None, max_length=400, description="NAME:VALUE", examples=["order:1047"])
    since: Moment | None = Field(default=None, alias="from", description="accepted then or later")
    until: Moment | None = Field(default=None, alias="to", description="accepted before then")


class MessageParameters(PageParameters, SearchParameters):
    wait: Seconds | None = Field(default=None, description="if no message fits, wait so long for one, at most 60s")


class _Page(NamedTuple):
    items: list[MessageDetail]
    next: str


class MessageApi:
    """The endpoints under `messages` that read."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting = 0

    def routes(self) -> list[BaseRoute]:
        return [Route("/messages", self.list_messages), Route("/messages/{message}", self.show_message)]

    @documented("Messages with their deliveries, the newest first", query=MessageParameters, response=MessageList)
    async def list_messages(self, request: Request) -> Response:
        asked = read_query(request, MessageParameters)
        work = partial(_read_page, search=read_search(asked), limit=asked.limit, before=asked.cursor)
        found = await self._store.read(work)
        if not found.items and asked.wait:
            found = await self._wait_for_page(request, work, min(asked.wait, MAX_WAIT))
        return list_response([json_objects.message_object(one) for one in found.items], found.next)

    async def _wait_for_page(self, request: Request, work: "partial[_Page]", max_wait: timedelta) -> _Page:
        """What `read` gives as soon as that is something, or after that time."""
        if self._waiting >= _MAX_WAITING:
            raise ApiError(503, "busy", f"{_MAX_WAITING} requests wait for messages already; try again")
        loop = asyncio.get_running_loop()
        until_s, slow_s = loop.time() + max_wait.total_seconds(), loop.time() + _FAST_FOR_S
        self._waiting += 1
        try:
            while True:
                pause_s = _POLL_S if loop.time() < slow_s else _SLOW_POLL_S
                await asyncio.sleep(min(pause_s, max(0.0, until_s - loop.time())))
                found = await self._store.read(work)
                if found.items or loop.time() >= until_s or shutdown.is_stopping(request):
                    return found
        finally:
            self._waiting -= 1

    @documented("A message with its deliveries, their attempts, and its links", response=MessageObject)
    async def show_message(self, request: Request) -> Response:
        wanted = request.path_params["message"]
        found = await self._store.read(lambda connection: _read_one(connection, wanted))
        if found is None:
            raise HTTPException(404, "there is no such message")
        return json_response(json_objects.message_object(found))


def read_search(parameters: SearchParameters) -> MessageSearch:
    """What the parameters look for. Raises ApiError."""
    try:
        found = search_query.parse_search(parameters.q, datetime.now(UTC))
    except search_query.SearchSyntaxError as error:
        raise ApiError(400, "bad_request", f"q: {error}") from None
    name, value = _split_metadata(parameters.metadata) if parameters.metadata else ("", "")
    return found.joined_with(
        MessageSearch(
            recipients=(parameters.recipient,) if parameters.recipient else (),
            tags=(parameters.tag,) if parameters.tag else (),
            metadata=((name, value),) if name else (),
            statuses=(parameters.status,) if parameters.status else (),
            streams=(parameters.stream,) if parameters.stream else (),
            message_ids=(parameters.message_id,) if parameters.message_id else (),
            since=parameters.since,
            until=parameters.until,
        )
    )


def _split_metadata(text: str) -> tuple[str, str]:
    at = min(at for at in (text.find(":"), text.find("=")) if at > 0)
    return text[:at], text[at + 1 :]


def _read_page(connection: sa.Connection, search: MessageSearch, limit: int, before: str) -> _Page:
    found = message_search.find_messages(connection, search, limit, before)
    named = [one for one in search.recipients if message_search.is_address(one)]
    return _Page(message_detail.read_messages(connection, found.ids, recipients=named), found.next)


def _read_one(connection: sa.Connection, message_id: str) -> MessageDetail | None:
    found = message_detail.read_messages(connection, [message_id], max_deliveries=message_detail.MAX_DELIVERIES)
    return message_detail.add_conversations(connection, found[0]) if found else None
