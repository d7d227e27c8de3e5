"""The operators' pages: what came in, what became of it, who opened it, whom we no longer write to.

In: a session that the gate let through.  Out: HTML, rendered here; no page needs a script. POSTs change
something and lead back to a page that says so.
"""

import re
from datetime import UTC, datetime, time, timedelta
from typing import NamedTuple
from urllib.parse import urlencode

from starlette.datastructures import FormData, QueryParams
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from relay import address, tokens
from relay.config.schema import Config
from relay.store.database.tables import Status
from relay.store.recipients import suppressions
from relay.store.store import Store
from relay.store.views import message_detail, message_list, search_query, statistics
from relay.store.views.search_query import MessageSearch
from web import rendering
from web.api import core
from web.api.resources import api_resources
from web.console import sign_in
from web.console.mailbox_pages import MailboxPages
from web.console.pixels import PixelPages
from web.console.queue_pages import QueuePages
from web.console.report_pages import ReportPages
from web.console.sessions import SessionPages
from web.console.settings_pages import SettingsPages
from web.console.webhooks import WebhookPages

PAGE_ROWS = 50  # rows of a list
_RECENT_MESSAGES = 8
_OVERVIEW_DAYS = 7


class Console:
    """The console of one installation."""

    def __init__(self, config: Config, store: Store, ring: tokens.KeyRing) -> None:
        self._config = config
        self._store = store
        self._ring = ring
        self.renderer = rendering.operator_renderer(
            {
                "is_sandbox": config.is_sandbox,
                "smtp": str(config.listen[0].address),
                "statuses": list(Status),
                "public_url": config.tracking.public_url,
            }
        )

    def routes(self) -> list[BaseRoute]:
        resources = api_resources(self._config, self._store, self._ring)
        return [
            Route("/", self.show_overview),
            Route("/messages", self.list_messages),
            Route("/messages/{message}", self.show_message),
            Route("/suppressions", self.list_suppressions),
            Route("/suppressions", self.add_suppression, methods=["POST"]),
            Route("/suppressions/remove", self.confirm_removal),
            Route("/suppressions/remove", self.remove_suppression, methods=["POST"]),
            *PixelPages(self._config, self._store, self._ring, self.render_page).routes(),
            *MailboxPages(self._config, self._store, self._ring, self.render_page).routes(),
            *sign_in.LoginPages(self._config, self._store, self._ring, self.renderer).routes(),
            *SessionPages(self._store, self.render_page).routes(),
            *QueuePages(self._config, self._store, self.render_page).routes(),
            *ReportPages(self._store, self.render_page).routes(),
            *SettingsPages(self._config, self._store, self.render_page).routes(),
            *WebhookPages(self._config, self._store, self._ring, self.render_page).routes(),
            core.description_route(*resources),
            core.ApiMount(self._config, self._store, *resources),
            Mount("/static", StaticFiles(directory=rendering.STATIC)),
        ]

    def middleware(self) -> list[Middleware]:
        return sign_in.login_middleware(self._store, self._ring, self.renderer)

    def render_page(self, request: Request, template: str, section: str, **values: object) -> Response:
        """A page with the frame around it: who is signed in, where we are, what was just done."""
        session = request.session
        values |= {
            "section": section,
            "account": request.state.account,
            "csrf": session["csrf"],
            "notice": session.pop("notice") if "notice" in session else "",
        }
        return self.renderer.render(template, 200, None, **values)

    async def show_overview(self, request: Request) -> Response:
        today = datetime.combine(datetime.now(UTC).date(), time(), UTC)
        first = today - timedelta(days=_OVERVIEW_DAYS - 1)
        week, since_midnight, by_day, waiting, recent = await self._store.read(
            lambda connection: (
                statistics.totals_since(connection, first),
                statistics.totals_since(connection, today),
                statistics.totals_by_day(connection, first, _OVERVIEW_DAYS),
                statistics.queue_depth(connection),
                message_list.list_messages(connection, _RECENT_MESSAGES),
            )
        )
        return self.render_page(
            request,
            "overview.html",
            "overview",
            week=week,
            today=since_midnight,
            days=by_day,
            waiting=waiting,
            lines=recent.items,
        )

    async def list_messages(self, request: Request) -> Response:
        asked = request.query_params
        query, status = asked.get("q", "").strip(), asked.get("status", "")
        stream = asked.get("stream", "")
        status = status if status in set(Status) else ""
        search = MessageSearch(
            statuses=(Status(status),) if status else (), streams=(stream,) if stream else ()
        ).joined_with(_parse_search(query))
        found, streams = await self._store.read(
            lambda connection: (
                message_list.list_messages(connection, PAGE_ROWS, search, asked.get("before", "")),
                message_list.list_streams(connection),
            )
        )
        kept = {"q": query, "status": status, "stream": stream}
        return self.render_page(
            request,
            "messages.html",
            "messages",
            lines=found.items,
            q=query,
            status_asked=status,
            stream_asked=stream,
            streams=streams,
            is_filtered=bool(query or status or stream),
            is_later_page="before" in asked,
            newest=_url_with_query("/messages", kept),
            older=_url_with_query("/messages", kept | {"before": found.next}) if found.next else "",
        )

    async def show_message(self, request: Request) -> Response:
        found = await self._store.read(
            lambda connection: message_detail.read_message(connection, request.path_params["message"])
        )
        if found is None:
            raise HTTPException(404)
        return self.render_page(request, "message.html", "messages", detail=found)

    async def list_suppressions(self, request: Request) -> Response:
        asked = request.query_params
        query, after = asked.get("q", "").strip(), asked.get("before", "")
        after = after if re.fullmatch(r"[0-9]{1,18}", after) else ""
        # One more than is shown tells whether there is a further page.
        rows = await self._store.read(
            lambda connection: suppressions.list_suppressions(connection, PAGE_ROWS + 1, query, int(after or 0))
        )
        older = (
            _url_with_query("/suppressions", {"q": query, "before": str(rows[PAGE_ROWS - 1]["id"])})
            if len(rows) > PAGE_ROWS
            else ""
        )
        return self.render_page(
            request,
            "suppressions.html",
            "suppressions",
            rows=rows[:PAGE_ROWS],
            q=query,
            older=older,
            is_later_page=bool(after),
            newest=_url_with_query("/suppressions", {"q": query}),
        )

    async def add_suppression(self, request: Request) -> Response:
        form = await sign_in.read_checked_form(request)
        stream = str(form.get("stream", "")).strip()
        try:
            mailbox = address.parse_path(f"<{str(form.get('address', '')).strip()}>").mailbox
        except address.PathSyntaxError:
            mailbox = address.NULL
        if not address.domain(mailbox):
            request.session["notice"] = "That is no mail address. Nothing was changed."
            return RedirectResponse("/suppressions", 303)
        is_new = await self._store.write(
            lambda connection: suppressions.add_suppression(
                connection,
                mailbox,
                reason="manual",
                at=datetime.now(UTC),
                stream=stream or None,
                evidence=f"by {request.state.account}",
            )
        )
        what = f"mail of the stream {stream}" if stream else "mail"
        request.session["notice"] = (
            f"{mailbox} gets no more {what}." if is_new else f"{mailbox} was on the list already."
        )
        return RedirectResponse("/suppressions", 303)

    async def confirm_removal(self, request: Request) -> Response:
        entry = _SuppressionKey.from_values(request.query_params)
        rows = await self._store.read(
            lambda connection: suppressions.list_suppressions(connection, PAGE_ROWS, entry.address)
        )
        row = next((row for row in rows if all(row[name] == value for name, value in entry._asdict().items())), None)
        if row is None:
            raise HTTPException(404)
        return self.render_page(request, "suppression.html", "suppressions", row=row)

    async def remove_suppression(self, request: Request) -> Response:
        entry = _SuppressionKey.from_values(await sign_in.read_checked_form(request))
        count = await self._store.write(
            lambda connection: suppressions.remove_suppressions(
                connection, entry.address, scope=entry.scope, stream=entry.stream
            )
        )
        request.session["notice"] = (
            f"{entry.address} may get mail again." if count else f"{entry.address} was not on the list any more."
        )
        return RedirectResponse("/suppressions", 303)


class _SuppressionKey(NamedTuple):
    """What identifies a suppression."""

    address: str
    scope: str
    stream: str

    @classmethod
    def from_values(cls, given: QueryParams | FormData) -> "_SuppressionKey":
        return cls(*(str(given.get(name, "")) for name in cls._fields))


def _parse_search(text: str) -> MessageSearch:
    """What the search box asks for; what cannot be read is looked for as it stands."""
    try:
        return search_query.parse_search(text, datetime.now(UTC))
    except search_query.SearchSyntaxError:
        return MessageSearch(words=(text[: search_query.MAX_TEXT],))


def _url_with_query(path: str, values: dict[str, str]) -> str:
    query = urlencode({name: value for name, value in values.items() if value})
    return f"{path}?{query}" if query else path
