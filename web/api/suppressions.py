"""The API's suppressions: `GET suppressions`.

In: requests behind the API's gate.  Out: JSON, in the form of `web.api.answers`.
"""

from functools import partial
from typing import Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from relay.store.recipients import suppressions
from relay.store.recipients.suppressions import SuppressionFilter
from relay.store.store import Store
from relay.store.views import json_objects
from web.api.answers import list_response
from web.api.openapi import documented
from web.api.parameters import PageParameters, Text, read_query
from web.api.reports import read_offset
from web.api.schemas import SuppressionList

Reason = Literal["hard_bounce", "unsubscribe", "complaint", "manual"]


class SuppressionParameters(PageParameters):
    q: Text = Field(default="", description="a part of an address")
    address: Text = Field(default="", description="a whole address")
    scope: Literal["all", "stream"] | None = None
    stream: Text = ""
    reason: Reason | None = None


class SuppressionApi:
    """The endpoints under `suppressions`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[BaseRoute]:
        return [Route("/suppressions", self.list_suppressions)]

    @documented("Addresses that get no mail, the newest first", query=SuppressionParameters, response=SuppressionList)
    async def list_suppressions(self, request: Request) -> Response:
        asked = read_query(request, SuppressionParameters)
        wanted = SuppressionFilter(asked.address, asked.scope or "", asked.stream, asked.reason or "")
        rows = await self._store.read(
            partial(
                suppressions.list_suppressions,
                limit=asked.limit + 1,
                query=asked.q,
                after=read_offset(asked.cursor),
                wanted=wanted,
            )
        )
        shown = rows[: asked.limit]
        following = str(shown[-1]["id"]) if len(rows) > asked.limit else ""
        return list_response([json_objects.suppression_object(row) for row in shown], following)
