"""Suppressions, as operators see and change them: addresses that get no mail, and why.

In: a session that the gate let through.  Out: the list with search and a form, and a question before an entry goes.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from starlette.datastructures import FormData, QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from relay import address, suppression_reason
from relay.config import values
from relay.store.console.audit_log import AuditedChange
from relay.store.recipients import suppressions
from relay.store.store import Store
from web import audited
from web.console import page_filters, sign_in, suppression_lists
from web.console.page_filters import PageFilters

_PAGE_ROWS = 50
_CURSOR = re.compile(r"[0-9]{1,18}")


class SuppressionPages:
    """The routes under `/suppressions`."""

    def __init__(self, store: Store, page: Callable[..., Response]) -> None:
        self._store = store
        self._render_page = page

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/suppressions", self.list_suppressions),
            Route("/suppressions", self.add_suppression, methods=["POST"]),
            Route("/suppressions/remove", self.confirm_removal),
            Route("/suppressions/remove", self.remove_suppression, methods=["POST"]),
        ]

    async def list_suppressions(self, request: Request) -> Response:
        filters = PageFilters(request.query_params, ("q", "reason", "stream", "before"))
        query, begun = filters.text("q"), filters.cursor("before", _CURSOR, "older entries")
        after = begun[0] if begun else ""
        wanted = suppression_lists.read_filter(filters)
        # One more than is shown tells whether there is a further page.
        rows = await self._store.read(
            lambda connection: suppressions.list_suppressions(
                connection, _PAGE_ROWS + 1, query, int(after or 0), wanted
            )
        )
        kept = {"q": query, "reason": wanted.reason, "stream": wanted.stream}
        older = (
            page_filters.page_url("/suppressions", kept | {"before": str(rows[_PAGE_ROWS - 1]["id"])})
            if len(rows) > _PAGE_ROWS
            else ""
        )
        return self._render_page(
            request,
            "suppressions.html",
            "suppressions",
            rows=rows[:_PAGE_ROWS],
            faults=filters.faults,
            q=query,
            reasons=suppression_reason.REASONS,
            reason_asked=wanted.reason,
            stream_asked=wanted.stream,
            csv_url=page_filters.page_url("/suppressions.csv", {"reason": wanted.reason, "stream": wanted.stream}),
            older=older,
            is_later_page=bool(after),
            newest=page_filters.page_url("/suppressions", kept),
        )

    async def add_suppression(self, request: Request) -> Response:
        form = await sign_in.read_checked_form(request)
        stream = values.read_stream(form.get("stream", ""))
        try:
            mailbox = address.parse_mailbox(str(form.get("address", "")).strip())
        except address.PathSyntaxError:
            mailbox = address.NULL
        if not address.domain(mailbox):
            request.session["notice"] = "That is no mail address. Nothing was changed."
            return RedirectResponse("/suppressions", 303)
        is_new = await audited.write(
            self._store,
            request,
            AuditedChange("suppression.add", stream, mailbox),
            lambda connection: suppressions.add_suppression(
                connection,
                mailbox,
                reason="manual",
                at=datetime.now(UTC),
                stream=stream or None,
                evidence=f"by {request.state.account}",
            ),
        )
        what = f"mail of the stream {stream}" if stream else "mail"
        request.session["notice"] = (
            f"{mailbox} gets no more {what}." if is_new else f"{mailbox} was on the list already."
        )
        return RedirectResponse("/suppressions", 303)

    async def confirm_removal(self, request: Request) -> Response:
        entry = _SuppressionKey.from_values(request.query_params)
        rows = await self._store.read(
            lambda connection: suppressions.list_suppressions(connection, _PAGE_ROWS, entry.address)
        )
        row = next((row for row in rows if all(row[name] == value for name, value in entry._asdict().items())), None)
        if row is None:
            raise HTTPException(404)
        return self._render_page(
            request, "suppression.html", "suppressions", row=row, message=request.query_params.get("message", "")
        )

    async def remove_suppression(self, request: Request) -> Response:
        form = await sign_in.read_checked_form(request)
        entry = _SuppressionKey.from_values(form)
        count = await audited.write(
            self._store,
            request,
            AuditedChange("suppression.remove", entry.stream, entry.address),
            lambda connection: suppressions.remove_suppressions(
                connection, entry.address, scope=entry.scope, stream=entry.stream
            ),
        )
        request.session["notice"] = (
            f"{entry.address} may get mail again." if count else f"{entry.address} was not on the list any more."
        )
        message = str(form.get("message", ""))
        is_message = page_filters.MESSAGE_ID.fullmatch(message)
        return RedirectResponse(f"/messages/{message}" if is_message else "/suppressions", 303)


class _SuppressionKey(NamedTuple):
    """What identifies a suppression."""

    address: str
    scope: str
    stream: str

    @classmethod
    def from_values(cls, parameters: QueryParams | FormData) -> "_SuppressionKey":
        return cls(*(str(parameters.get(name, "")) for name in cls._fields))
