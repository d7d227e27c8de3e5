"""Mail that Waypost refused: who sent it, to whom, and which reply they got.

In: a session that the gate let through.  Out: a page with a list and a search.
"""

from collections.abc import Callable
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from relay.store import refusals
from relay.store.refusals import RefusalFilter
from relay.store.store import Store
from web.console import page_filters
from web.console.page_filters import PageFilters

_PAGE_ROWS = 50
_MAX_TEXT = 320  # characters


class RefusalPages:
    """The route `/refused`."""

    def __init__(self, store: Store, page: Callable[..., Response]) -> None:
        self._store = store
        self._render_page = page

    def routes(self) -> list[BaseRoute]:
        return [Route("/refused", self.list_refusals)]

    async def list_refusals(self, request: Request) -> Response:
        filters = PageFilters(request.query_params, ("q", "before"))
        query, begun = filters.text("q", _MAX_TEXT), filters.cursor("before", page_filters.MESSAGE_ID, "older entries")
        before = begun[0] if begun else ""
        wanted = RefusalFilter(text=query)
        page = await self._store.read(
            partial(refusals.list_refusals, refusal_filter=wanted, limit=_PAGE_ROWS, before=before)
        )
        kept = {"q": query} if query else {}
        return self._render_page(
            request,
            "refused.html",
            "messages",
            entries=page.items,
            faults=filters.faults,
            q=query,
            max_days=refusals.MAX_AGE.days,
            is_later_page=bool(before),
            newest=page_filters.page_url("/refused", kept),
            older=page_filters.page_url("/refused", kept | {"before": page.next}) if page.next else "",
        )
