"""Many suppressions at once: exported and imported as CSV, and removed with undo.

In: a session that the gate let through.  Out: a file; pages that say what was done, and what could not be read.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from functools import partial

import sqlalchemy as sa
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from relay import suppression_reason
from relay.config import values
from relay.store.console.audit_log import AuditedChange
from relay.store.recipients import suppression_csv, suppressions
from relay.store.recipients.suppression_csv import ImportDefaults, InvalidRecord
from relay.store.recipients.suppressions import SuppressionEntry, SuppressionFilter
from relay.store.store import Store
from web import audited
from web.console import sign_in
from web.console.page_filters import PageFilters

_EXPORT_CHUNK = 1000  # entries
_MAX_REMOVED = 200  # ticked at once
_MAX_FAULTS = 20  # that are shown
_MAX_UNDO = 40_000  # characters: a form of ours has 64 KB
_SHORT_EVIDENCE = 100  # where there is too much of it


class SuppressionListPages:
    """The routes `/suppressions.csv`, `/suppressions/import` and `/suppressions/remove-many`."""

    def __init__(self, store: Store, page: Callable[..., Response]) -> None:
        self._store = store
        self._render_page = page

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/suppressions.csv", self.export_csv),
            Route("/suppressions/import", self.show_import),
            Route("/suppressions/import", self.import_csv, methods=["POST"]),
            Route("/suppressions/remove-many", self.remove_many, methods=["POST"]),
        ]

    async def export_csv(self, request: Request) -> Response:
        """All entries in force that have the reason and the stream that are asked for."""
        filters = PageFilters(request.query_params, ("reason", "stream"))
        wanted = read_filter(filters)
        if refusal := filters.refusal():
            return refusal
        headers = {"content-disposition": 'attachment; filename="suppressions.csv"', "cache-control": "no-store"}
        return StreamingResponse(self._csv_lines(wanted), media_type="text/csv; charset=utf-8", headers=headers)

    async def _csv_lines(self, entry_filter: SuppressionFilter) -> AsyncIterator[str]:
        yield suppression_csv.write_csv([], header=True)
        now, last = datetime.now(UTC), 0
        while True:
            work = partial(suppressions.list_entries, now=now, after=last, limit=_EXPORT_CHUNK)
            entries, last = await self._store.read(work)
            if not entries:
                return
            yield suppression_csv.write_csv((one for one in entries if _fits(one, entry_filter)), header=False)

    async def show_import(self, request: Request) -> Response:
        return self._render_import(request)

    async def import_csv(self, request: Request) -> Response:
        form = await sign_in.read_checked_form(request)
        text, reason = str(form.get("csv", "")), str(form.get("reason", ""))
        reason = reason if reason in suppression_reason.REASONS else suppression_reason.MANUAL
        stream = values.read_stream(form.get("stream", ""))[:200] or None
        defaults = ImportDefaults(datetime.now(UTC), reason, stream)
        records = list(suppression_csv.read_csv(text.splitlines(True), defaults))
        entries = [one for one in records if not isinstance(one, InvalidRecord)]
        refused = [f"Line {one.line}: {one.why}" for one in records if isinstance(one, InvalidRecord)]
        added = 0
        if entries:
            change = AuditedChange("suppression.add_many")
            added = await audited.write(
                self._store, request, change, partial(suppressions.add_suppressions, entries=entries)
            )
        done = f"{added:,} added, {len(entries) - added:,} known already, {len(refused):,} not read."
        return self._render_import(request, done=done, faults=refused)

    async def remove_many(self, request: Request) -> Response:
        form = await sign_in.read_checked_form(request)
        ids = [int(str(one)) for one in form.getlist("entry")[:_MAX_REMOVED] if str(one).isdecimal()]
        removed = await audited.write(
            self._store,
            request,
            AuditedChange("suppression.remove_many"),
            lambda connection: _remove_entries(connection, [one for one in ids if one < 1 << 63]),
            count=len,
        )
        return self._render_page(
            request, "suppression_removed.html", "suppressions", removed=removed, undo=_undo_text(removed)
        )

    def _render_import(self, request: Request, done: str = "", faults: Sequence[str] = ()) -> Response:
        return self._render_page(
            request,
            "suppression_import.html",
            "suppressions",
            done=done,
            faults=faults[:_MAX_FAULTS],
            more_faults=max(0, len(faults) - _MAX_FAULTS),
            reasons=suppression_reason.REASONS,
        )


def read_filter(filters: PageFilters) -> SuppressionFilter:
    """What a list shows."""
    return SuppressionFilter(reason=filters.choice("reason", suppression_reason.REASONS), stream=filters.stream())


def _fits(entry: SuppressionEntry, entry_filter: SuppressionFilter) -> bool:
    return entry_filter.reason in ("", entry.reason) and entry_filter.stream in ("", entry.stream)


def _remove_entries(connection: sa.Connection, ids: Sequence[int]) -> list[SuppressionEntry]:
    removed = suppressions.find_by_ids(connection, ids)
    for one in removed:
        suppressions.remove_suppressions(connection, one.address, scope=one.scope, stream=one.stream)
    return removed


def _undo_text(removed: Sequence[SuppressionEntry]) -> str:
    """The entries as CSV, so that importing it brings them back."""
    text = suppression_csv.write_csv(removed, header=True)
    if len(text) > _MAX_UNDO:
        shorter = [one._replace(evidence=one.evidence[:_SHORT_EVIDENCE]) for one in removed]
        text = suppression_csv.write_csv(shorter, header=True)
    return text
