"""The audit log: who changed what, from where and when.

In: a session that the gate let through.  Out: a page with a list and its filters.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from relay.store.console import audit_log
from relay.store.console.audit_log import AuditFilter, Door
from relay.store.store import Store
from web.console import page_filters
from web.console.page_filters import PageFilters

_PATH = "/settings/audit"
_PAGE_ROWS = 50
_FILTERS = ("by", "door", "action", "target", "recipient", "from", "to")
_OBJECTS = (
    "account", "api_key", "backup", "consent", "event", "key", "message", "person", "pixel", "queue", "session",
    "statistics", "suppression", "webhook",
)  # fmt: skip


class AuditPages:
    """The route `/settings/audit`."""

    def __init__(self, store: Store, page: Callable[..., Response]) -> None:
        self._store = store
        self._render_page = page

    def routes(self) -> list[BaseRoute]:
        return [Route(_PATH, self.list_entries)]

    async def list_entries(self, request: Request) -> Response:
        filters = PageFilters(request.query_params, (*_FILTERS, "before"))
        (since, until), door = filters.days(), filters.choice("door", Door)
        begun = filters.cursor("before", page_filters.MESSAGE_ID, "older entries")
        before = begun[0] if begun else ""
        left_out = {"door": not door, "from": not since, "to": not until}
        asked = {name: text for name in _FILTERS if (text := filters.text(name)) and not left_out.get(name)}
        wanted = AuditFilter(
            by=asked.get("by", ""),
            door=door,
            action=asked.get("action", ""),
            target=asked.get("target", ""),
            recipient=asked.get("recipient", ""),
            since=since,
            until=until + timedelta(days=1) if until else None,
        )
        page = await self._store.read(
            partial(audit_log.list_entries, entry_filter=wanted, limit=_PAGE_ROWS, before=before)
        )
        return self._render_page(
            request,
            "audit.html",
            "settings",
            entries=page.items,
            asked={name: asked.get(name, "") for name in _FILTERS},
            faults=filters.faults,
            doors=list(Door),
            objects=_OBJECTS,
            is_filtered=bool(asked),
            is_later_page=bool(before),
            newest=page_filters.page_url(_PATH, asked),
            older=page_filters.page_url(_PATH, asked | {"before": page.next}) if page.next else "",
        )
