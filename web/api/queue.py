"""The API's queue: `GET queue`.

In: requests behind the API's gate.  Out: JSON, in the form of `web.api.answers`.
"""

import re
from datetime import UTC, datetime
from functools import partial
from typing import Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from relay.store.database.tables import Status
from relay.store.store import Store
from relay.store.views import json_objects, queue_list
from relay.store.views.queue_list import QueueCursor, QueueFilter
from web.api.answers import ApiError, list_response
from web.api.openapi import documented
from web.api.parameters import PageParameters, Text, read_query
from web.api.schemas import QueueList

_CURSOR = re.compile(r"([0-9]{1,18})\.([0-9a-v]{20})\.([0-9]{1,9})")


class QueueParameters(PageParameters):
    recipient: Text = Field(default="", description="an address")
    stream: Text = ""
    status: Literal["queued", "deferred"] | None = None
    category: Text = ""
    held: bool | None = None
    parked: bool | None = None


class QueueApi:
    """The endpoints under `queue`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[BaseRoute]:
        return [Route("/queue", self.list_queue)]

    @documented("Deliveries that wait, the next due first", query=QueueParameters, response=QueueList)
    async def list_queue(self, request: Request) -> Response:
        asked = read_query(request, QueueParameters)
        wanted = QueueFilter(
            asked.recipient,
            asked.stream,
            Status(asked.status) if asked.status else None,
            asked.category,
            asked.held,
            asked.parked,
        )
        after = _read_cursor(asked.cursor) if asked.cursor else None
        page = await self._store.read(
            partial(queue_list.list_queue, wanted=wanted, limit=asked.limit, now=datetime.now(UTC), after=after)
        )
        following = ".".join(map(str, page.next)) if page.next else ""
        return list_response([json_objects.queue_object(one) for one in page.items], following)


def _read_cursor(text: str) -> QueueCursor:
    found = _CURSOR.fullmatch(text)
    if not found:
        raise ApiError(400, "bad_request", "cursor: must be the `next` of the page before")
    return QueueCursor(int(found[1]), found[2], int(found[3]))
