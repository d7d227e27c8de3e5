"""The API's audit log: `GET audit`.

In: requests behind the API's gate, of keys with the scope `audit`.  Out: JSON, in the form of `web.api.answers`.
"""

from functools import partial

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from relay.store.console import audit_log
from relay.store.console.audit_log import AuditFilter
from relay.store.store import Store
from relay.store.views import json_objects
from web.api.answers import list_response
from web.api.openapi import documented
from web.api.parameters import Text, TimeParameters, read_query
from web.api.schemas import AuditList, DoorName


class AuditParameters(TimeParameters):
    by: Text = Field(default="", description="an account, an API key, or a user of the machine")
    door: DoorName | None = None
    action: Text = Field(default="", description="such as `queue.drop`; `queue` is all that was done to the queue")
    target: Text = Field(default="", description="an id or a name")
    recipient: Text = Field(default="", description="an address")


class AuditApi:
    """The endpoint `audit`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[BaseRoute]:
        return [Route("/audit", self.list_entries)]

    @documented("Who changed what, the newest first", query=AuditParameters, response=AuditList)
    async def list_entries(self, request: Request) -> Response:
        asked = read_query(request, AuditParameters)
        wanted = AuditFilter(
            asked.by, asked.door or "", asked.action, asked.target, asked.recipient, asked.since, asked.until
        )
        page = await self._store.read(
            partial(audit_log.list_entries, entry_filter=wanted, limit=asked.limit, before=asked.cursor)
        )
        return list_response([json_objects.audit_object(row) for row in page.items], page.next)
