"""The API's reports: `GET links`, `GET bounces`.

In: requests behind the API's gate.  Out: JSON, in the form of `web.api.answers`.
"""

from functools import partial
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from relay.store.database.reader import SharedReads
from relay.store.store import Store
from relay.store.views import bounce_counts, clicked_links, json_objects
from relay.store.views.clicked_links import LinkFilter
from relay.store.views.statistics import Selection
from web.api.answers import json_response, list_response
from web.api.message_schemas import BounceCountList, ClickedLinkList
from web.api.openapi import documented
from web.api.parameters import NumberCursor, Stream, Text, TimeParameters, read_query


class LinkParameters(TimeParameters):
    cursor: NumberCursor = ""
    stream: Stream = ""
    tag: Text = ""
    message: Text = ""


class BounceParameters(TimeParameters):
    cursor: NumberCursor = ""
    by: Literal["domain", "category", "domain,category", "category,domain"] = "domain,category"
    stream: Stream = ""


class ReportApi:
    """The endpoints `links` and `bounces`."""

    def __init__(self, store: Store) -> None:
        self._links, self._bounces = SharedReads(store.read), SharedReads(store.read)

    def routes(self) -> list[BaseRoute]:
        return [Route("/links", self.list_links), Route("/bounces", self.list_bounces)]

    @documented("URLs that were clicked, most first", query=LinkParameters, response=ClickedLinkList)
    async def list_links(self, request: Request) -> Response:
        asked = read_query(request, LinkParameters)
        offset = int(asked.cursor or 0)
        wanted = LinkFilter(asked.since, asked.until, asked.stream, asked.tag, asked.message)
        work = partial(clicked_links.list_clicked_links, link_filter=wanted, limit=asked.limit, offset=offset)
        found = await self._links.read((wanted, asked.limit, offset), work)
        return json_response(
            {
                "items": [json_objects.clicked_link_object(one) for one in found.items],
                "next": str(offset + asked.limit) if found.has_more else None,
                "counted_since": json_objects.format_time(found.counted_since),
                "is_cut": found.is_cut,
            }
        )

    @documented(
        "Bounces by receiving domain and category, most first", query=BounceParameters, response=BounceCountList
    )
    async def list_bounces(self, request: Request) -> Response:
        asked = read_query(request, BounceParameters)
        offset = int(asked.cursor or 0)
        selection = Selection(asked.since, asked.until, asked.stream or None)
        by = frozenset(asked.by.split(","))
        work = partial(bounce_counts.count_bounces, selection=selection, by=by)
        found = await self._bounces.read((selection, by), work)
        shown = found[offset : offset + asked.limit]
        following = offset + asked.limit
        return list_response(
            [json_objects.bounce_count_object(one) for one in shown], str(following) if len(found) > following else ""
        )
