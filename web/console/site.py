"""The operators' pages: what came in, what became of it, who opened it, whom we no longer write to.

In: a session that the gate let through.  Out: HTML, rendered here; no page needs a script. POSTs change
something and lead back to a page that says so.
"""

import re
from collections import Counter
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
from relay.event_type import EventType
from relay.store.database.tables import Status
from relay.store.recipients import suppressions
from relay.store.store import Store
from relay.store.views import message_detail, message_list, statistics
from web import rendering
from web.api import core, webhooks
from web.console import sign_in
from web.console.mailbox_pages import Letters
from web.console.pixels import Pixels
from web.console.sessions import Sessions
from web.console.webhooks import Webhooks

PAGE = 50  # rows of a list
_RECENT = 8
_DAYS = 7


class Console:
    """The console of one installation."""

    def __init__(self, config: Config, store: Store, ring: tokens.KeyRing) -> None:
        self._config = config
        self._store = store
        self._ring = ring
        self.pages = rendering.private(
            {
                "is_sandbox": config.is_sandbox,
                "smtp": str(config.listen[0].address),
                "statuses": list(Status),
                "public_url": config.tracking.public_url,
            }
        )

    def routes(self) -> list[BaseRoute]:
        resources = [
            *core.routes(self._config, self._store, self._ring),
            webhooks.Webhooks(self._config, self._store, self._ring).routes(),
        ]
        return [
            Route("/", self.overview),
            Route("/messages", self.messages),
            Route("/messages/{message}", self.message),
            Route("/suppressions", self.suppressions),
            Route("/suppressions", self.suppress, methods=["POST"]),
            Route("/suppressions/remove", self.ask_to_remove),
            Route("/suppressions/remove", self.remove, methods=["POST"]),
            *Pixels(self._config, self._store, self._ring, self.page).routes(),
            *Letters(self._config, self._store, self._ring, self.page).routes(),
            *sign_in.Login(self._config, self._store, self._ring, self.pages).routes(),
            *Sessions(self._store, self.page).routes(),
            *Webhooks(self._config, self._store, self._ring, self.page).routes(),
            core.description(*resources),
            Mount(core.PATH, core.application(self._config, self._store, *resources)),
            Mount("/static", StaticFiles(directory=rendering.STATIC)),
        ]

    def middleware(self) -> list[Middleware]:
        return sign_in.middleware(self._store, self._ring, self.pages)

    def page(self, request: Request, template: str, section: str, **values: object) -> Response:
        """A page with the frame around it: who is signed in, where we are, what was just done."""
        session = request.session
        values |= {
            "section": section,
            "account": request.state.account,
            "csrf": session["csrf"],
            "notice": session.pop("notice") if "notice" in session else "",
        }
        return self.pages.answer(template, 200, None, **values)

    async def overview(self, request: Request) -> Response:
        today = datetime.combine(datetime.now(UTC).date(), time(), UTC)
        first = today - timedelta(days=_DAYS - 1)
        week, since_midnight, by_day, waiting, recent = await self._store.read(
            lambda connection: (
                statistics.totals_since(connection, first),
                statistics.totals_since(connection, today),
                statistics.totals_by_day(connection, first, _DAYS),
                statistics.queue_depth(connection),
                message_list.list_messages(connection, _RECENT),
            )
        )
        return self.page(
            request,
            "overview.html",
            "overview",
            week=week,
            today=since_midnight,
            days=by_day,
            waiting=waiting,
            lines=recent.items,
        )

    async def messages(self, request: Request) -> Response:
        asked = request.query_params
        query, status = asked.get("q", "").strip(), asked.get("status", "")
        stream = asked.get("stream", "")
        status = status if status in set(Status) else ""
        found, streams = await self._store.read(
            lambda connection: (
                message_list.list_messages(
                    connection, PAGE, query=query, status=status, stream=stream or None, before=asked.get("before", "")
                ),
                message_list.list_streams(connection),
            )
        )
        kept = {"q": query, "status": status, "stream": stream}
        return self.page(
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
            newest=_link("/messages", kept),
            older=_link("/messages", kept | {"before": found.next}) if found.next else "",
        )

    async def message(self, request: Request) -> Response:
        found = await self._store.read(
            lambda connection: message_detail.read_message(connection, request.path_params["message"])
        )
        if found is None:
            raise HTTPException(404)
        clicks = Counter(
            event.url for event in found.events if event.type == EventType.CLICKED and event.verdict == "human"
        )
        return self.page(request, "message.html", "messages", story=found, clicks=clicks)

    async def suppressions(self, request: Request) -> Response:
        asked = request.query_params
        query, after = asked.get("q", "").strip(), asked.get("before", "")
        after = after if re.fullmatch(r"[0-9]{1,18}", after) else ""
        # One more than is shown tells whether there is a further page.
        rows = await self._store.read(
            lambda connection: suppressions.list_suppressions(connection, PAGE + 1, query, int(after or 0))
        )
        older = _link("/suppressions", {"q": query, "before": str(rows[PAGE - 1]["id"])}) if len(rows) > PAGE else ""
        return self.page(
            request,
            "suppressions.html",
            "suppressions",
            rows=rows[:PAGE],
            q=query,
            older=older,
            is_later_page=bool(after),
            newest=_link("/suppressions", {"q": query}),
        )

    async def suppress(self, request: Request) -> Response:
        form = await sign_in.checked_form(request)
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

    async def ask_to_remove(self, request: Request) -> Response:
        entry = _Entry.of(request.query_params)
        rows = await self._store.read(
            lambda connection: suppressions.list_suppressions(connection, PAGE, entry.address)
        )
        row = next((row for row in rows if all(row[name] == value for name, value in entry._asdict().items())), None)
        if row is None:
            raise HTTPException(404)
        return self.page(request, "suppression.html", "suppressions", row=row)

    async def remove(self, request: Request) -> Response:
        entry = _Entry.of(await sign_in.checked_form(request))
        count = await self._store.write(
            lambda connection: suppressions.remove_suppressions(
                connection, entry.address, scope=entry.scope, stream=entry.stream
            )
        )
        request.session["notice"] = (
            f"{entry.address} may get mail again." if count else f"{entry.address} was not on the list any more."
        )
        return RedirectResponse("/suppressions", 303)


class _Entry(NamedTuple):
    """What identifies a suppression."""

    address: str
    scope: str
    stream: str

    @classmethod
    def of(cls, given: QueryParams | FormData) -> "_Entry":
        return cls(*(str(given.get(name, "")) for name in cls._fields))


def _link(path: str, values: dict[str, str]) -> str:
    query = urlencode({name: value for name, value in values.items() if value})
    return f"{path}?{query}" if query else path
