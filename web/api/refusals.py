"""The API's refusals: `GET refusals`.

In: requests behind the API's gate.  Out: JSON, in the form of `web.api.answers`.
"""

from functools import partial

from pydantic import AwareDatetime, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from relay.store import refusals
from relay.store.refusals import RefusalFilter
from relay.store.store import Store
from relay.store.views import json_objects
from web.api.answers import list_response
from web.api.openapi import documented
from web.api.parameters import Text, TimeParameters, read_query
from web.api.schemas import AnswerObject


class RefusalParameters(TimeParameters):
    q: Text = Field(default="", description="what stands in sender, recipient, user, IP address or reply")
    recipient: Text = Field(default="", description="an address")
    sender: Text = Field(default="", description="the reverse-path, an address")
    code: int | None = Field(default=None, ge=400, le=599, description="the reply's code")


class RefusalObject(AnswerObject):
    id: str
    at: AwareDatetime
    ip: str | None
    user: str | None = Field(description="who had signed in")
    command: str = Field(
        description="MAIL, RCPT, DATA or AUTH; of a connection CONNECT, PROXY, TLS, HELO, EHLO or STARTTLS"
    )
    sender: str | None = Field(alias="from", description="the reverse-path")
    recipient: str | None
    code: int
    status: str | None = Field(description="the enhanced status code")
    text: str
    count: int = Field(description="more than 1: so many that were only counted")


class RefusalList(AnswerObject):
    items: list[RefusalObject]
    next: str | None


class RefusalApi:
    """The endpoint `refusals`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[BaseRoute]:
        return [Route("/refusals", self.list_refusals)]

    @documented("What clients were refused, the newest first", query=RefusalParameters, response=RefusalList)
    async def list_refusals(self, request: Request) -> Response:
        asked = read_query(request, RefusalParameters)
        wanted = RefusalFilter(asked.q, asked.recipient, asked.sender, asked.code or 0, asked.since, asked.until)
        page = await self._store.read(
            partial(refusals.list_refusals, refusal_filter=wanted, limit=asked.limit, before=asked.cursor)
        )
        return list_response([json_objects.refusal_object(row) for row in page.items], page.next)
