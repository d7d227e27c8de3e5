"""The audit log: who changed what, from where and when.

In: a session that the gate let through.  Out: a page with a list and its filters.
"""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import partial
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from relay.store.console import audit_log
from relay.store.console.audit_log import AuditFilter, Door
from relay.store.store import Store

_PAGE_ROWS = 50
_MAX_TEXT = 400  # characters of a filter
_FILTERS = ("by", "door", "action", "target", "recipient", "from", "to")
_CURSOR = re.compile(r"[0-9a-v]{20}")
_OBJECTS = (
    "account", "api_key", "consent", "event", "key", "message", "person", "pixel", "queue", "session", "statistics",
    "suppression", "webhook",
)  # fmt: skip


class AuditPages:
    """The route `/settings/audit`."""

    def __init__(self, store: Store, page: Callable[..., Response]) -> None:
        self._store = store
        self._render_page = page

    def routes(self) -> list[BaseRoute]:
        return [Route("/settings/audit", self.list_entries)]

    async def list_entries(self, request: Request) -> Response:
        given = request.query_params
        asked = {name: text for name in _FILTERS if (text := given.get(name, "").strip()[:_MAX_TEXT])}
        faults: list[str] = []
        since, until = _read_day(asked, "from", faults), _read_day(asked, "to", faults)
        if asked.get("door", Door.CONSOLE) not in set(Door):
            faults.append(f"door: there is no {asked.pop('door')}")
        before = given.get("before", "")
        if before and not _CURSOR.fullmatch(before):
            faults.append("before: must come from the link to older entries")
            before = ""
        wanted = AuditFilter(
            by=asked.get("by", ""),
            door=asked.get("door", ""),
            action=asked.get("action", ""),
            target=asked.get("target", ""),
            recipient=asked.get("recipient", ""),
            since=since,
            until=until + timedelta(days=1) if until else None,
        )
        page = await self._store.read(partial(audit_log.list_entries, wanted=wanted, limit=_PAGE_ROWS, before=before))
        return self._render_page(
            request,
            "audit.html",
            "settings",
            entries=page.items,
            asked={name: asked.get(name, "") for name in _FILTERS},
            faults=faults,
            doors=list(Door),
            objects=_OBJECTS,
            is_filtered=bool(asked),
            is_later_page=bool(before),
            newest=_url(asked),
            older=_url(asked | {"before": page.next}) if page.next else "",
        )


def _read_day(asked: dict[str, str], name: str, faults: list[str]) -> datetime | None:
    """The midnight of a day that is asked for; a fault is named, and the filter left out."""
    if name not in asked:
        return None
    try:
        day = date.fromisoformat(asked[name])
        if not 1970 <= day.year <= 9998:
            raise ValueError
    except ValueError:
        faults.append(f"{name}: {asked.pop(name)} is no day such as 2026-11-27")
        return None
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _url(values: dict[str, str]) -> str:
    return f"/settings/audit?{urlencode(values)}" if values else "/settings/audit"
