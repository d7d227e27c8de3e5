"""Who is signed in to the console, with which browser, and how to sign it out.

In: a session that the gate let through.  Out: the list of all sessions, each with a button. Accounts have equal rights,
so each may end the sessions of all: of a laptop that was stolen, say.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from relay.store.console import console_sessions
from relay.store.store import Store
from web.console import sign_in


class SessionPages:
    """The routes under `/sessions`."""

    def __init__(self, store: Store, page: Callable[..., Response]) -> None:
        self._store = store
        self._render_page = page

    def routes(self) -> list[BaseRoute]:
        return [Route("/sessions", self.list_sessions), Route("/sessions", self.end_session, methods=["POST"])]

    async def list_sessions(self, request: Request) -> Response:
        found = await self._store.read(lambda connection: console_sessions.list_sessions(connection, datetime.now(UTC)))
        return self._render_page(request, "sessions.html", "sessions", sessions=found, own=request.state.session)

    async def end_session(self, request: Request) -> Response:
        form = await sign_in.read_checked_form(request)
        if form.get("do") == "everywhere":
            await self._store.write(lambda connection: console_sessions.end_sessions(connection, request.state.account))
            request.session.clear()
            return RedirectResponse("/login", 303)
        ended = str(form.get("session", ""))
        has_ended = await self._store.write(lambda connection: console_sessions.end_session(connection, ended))
        if ended == request.state.session:
            request.session.clear()
            return RedirectResponse("/login", 303)
        request.session["notice"] = "That browser is signed out." if has_ended else "That session had ended already."
        return RedirectResponse("/sessions", 303)
