"""The API's reports: `GET links`.

In: requests behind the API's gate.  Out: JSON, in the form of `web.api.answers`.
"""

import re
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from relay.store.store import Store
from relay.store.views import clicked_links, json_objects
from relay.store.views.clicked_links import LinkFilter
from web.api.answers import ApiError, json_response
from web.api.openapi import documented
from web.api.parameters import Text, TimeParameters, read_query
from web.api.schemas import ClickedLinkList


class LinkParameters(TimeParameters):
    stream: Text = ""
    tag: Text = ""
    message: Text = ""


class ReportApi:
    """The endpoint `links`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[BaseRoute]:
        return [Route("/links", self.list_links)]

    @documented("URLs that were clicked, most first", query=LinkParameters, response=ClickedLinkList)
    async def list_links(self, request: Request) -> Response:
        asked = read_query(request, LinkParameters)
        offset = read_offset(asked.cursor)
        wanted = LinkFilter(asked.since, asked.until, asked.stream, asked.tag, asked.message)
        work = partial(clicked_links.list_clicked_links, wanted=wanted, limit=asked.limit, offset=offset)
        found = await self._store.read(work)
        return json_response(
            {
                "items": [json_objects.clicked_link_object(one) for one in found.items],
                "next": str(offset + asked.limit) if found.has_more else None,
                "counted_since": json_objects.format_time(found.counted_since),
            }
        )


def read_offset(cursor: str) -> int:
    """Where a page of a list without keys begins. Raises ApiError."""
    if not cursor:
        return 0
    if not re.fullmatch(r"[0-9]{1,9}", cursor):
        raise ApiError(400, "bad_request", "cursor: must be the `next` of the page before")
    return int(cursor)
