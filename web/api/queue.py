"""The API's queue: `GET queue`, `POST queue/ID/retry|hold|release|drop`.

In: requests behind the API's gate.  Out: JSON, in the form of `web.api.answers`.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Literal

import sqlalchemy as sa
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from relay import ids
from relay.config.schema import Config
from relay.store.console.audit_log import AuditedChange
from relay.store.database.tables import Status
from relay.store.queue import queue_actions
from relay.store.queue.queue_actions import QueueTarget
from relay.store.store import Store
from relay.store.views import json_objects, queue_list
from relay.store.views.queue_list import QueueCursor, QueueFilter
from web import audited
from web.api.answers import ApiError, RequestBody, json_response, list_response, read_body
from web.api.message_schemas import DroppedAnswer, QueueActionAnswer, QueueList
from web.api.openapi import documented
from web.api.parameters import Moment, PageParameters, Stream, Text, cursor_pattern, read_query

QueueCursorText = Annotated[str, cursor_pattern(rf"[0-9]{{1,18}}[.]{ids.PATTERN}[.][0-9]{{1,9}}")]


class QueueParameters(PageParameters):
    cursor: QueueCursorText = ""
    since: Moment | None = Field(default=None, alias="from", description="accepted then or later")
    until: Moment | None = Field(default=None, alias="to", description="accepted before then")
    recipient: Text = Field(default="", description="an address")
    stream: Stream = ""
    tag: Text = ""
    status: Literal["queued", "deferred"] | None = None
    category: Text = ""
    held: bool | None = None
    parked: bool | None = None


class DropRequest(RequestBody):
    notify: bool = Field(default=False, description="send a DSN to the reverse-path")


class QueueApi:
    """The endpoints under `queue`."""

    def __init__(self, config: Config, store: Store) -> None:
        self._sends_dsn = config.delivery.notices
        self._store = store

    def routes(self) -> list[BaseRoute]:
        one = "/queue/{delivery}"
        return [
            Route("/queue", self.list_queue),
            Route(f"{one}/retry", self.retry, methods=["POST"]),
            Route(f"{one}/hold", self.hold, methods=["POST"]),
            Route(f"{one}/release", self.release, methods=["POST"]),
            Route(f"{one}/drop", self.drop, methods=["POST"]),
        ]

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
            asked.tag,
            asked.since,
            asked.until,
        )
        after = _read_cursor(asked.cursor) if asked.cursor else None
        page = await self._store.read(
            partial(queue_list.list_queue, queue_filter=wanted, limit=asked.limit, now=datetime.now(UTC), after=after)
        )
        following = ".".join(map(str, page.next)) if page.next else ""
        return list_response([json_objects.queue_object(one) for one in page.items], following)

    @documented("Have it attempted now, also if it is parked or held", status=202, response=QueueActionAnswer)
    async def retry(self, request: Request) -> Response:
        return await self._change(request, queue_actions.retry)

    @documented("Hold it: it is not attempted until it is released, or expires", response=QueueActionAnswer)
    async def hold(self, request: Request) -> Response:
        return await self._change(request, queue_actions.hold, 200)

    @documented("Release what is held: it is attempted now", status=202, response=QueueActionAnswer)
    async def release(self, request: Request) -> Response:
        return await self._change(request, queue_actions.release)

    @documented("Give it up: it expires now", DropRequest, response=DroppedAnswer, needs_body=False)
    async def drop(self, request: Request) -> Response:
        target, sends_dsn = _read_target(request), (await read_body(request, DropRequest)).notify and self._sends_dsn
        done = await audited.write(
            self._store,
            request,
            AuditedChange("queue.drop", request.path_params["delivery"]),
            lambda connection: queue_actions.drop(connection, datetime.now(UTC), target, sends_dsn=sends_dsn),
            count=lambda result: result.dropped,
        )
        if not done.dropped:
            raise _nothing_waits(request)
        return json_response({"deliveries": done.dropped, "under_way": done.under_way, "notified": done.notified})

    async def _change(
        self, request: Request, action: Callable[[sa.Connection, datetime, QueueTarget], int], status: int = 202
    ) -> Response:
        target = _read_target(request)
        changed = await audited.write(
            self._store,
            request,
            AuditedChange(f"queue.{action.__name__}", request.path_params["delivery"]),
            lambda connection: action(connection, datetime.now(UTC), target),
        )
        if not changed:
            raise _nothing_waits(request)
        return json_response({"deliveries": changed}, status)


def _read_target(request: Request) -> QueueTarget:
    try:
        return queue_actions.parse_target(request.path_params["delivery"])
    except ValueError:
        raise _nothing_waits(request) from None


def _nothing_waits(request: Request) -> ApiError:
    wanted = request.path_params["delivery"][:80]
    return ApiError(404, "not_found", f"nothing of {wanted} waits for that; GET queue lists the deliveries that wait")


def _read_cursor(text: str) -> QueueCursor:
    due_us, message, number = text.split(".")
    return QueueCursor(int(due_us), message, int(number))
