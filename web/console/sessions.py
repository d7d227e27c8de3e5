"""Who is signed in to the console, with which browser, and how to sign it out.

In: a session that the gate let through.  Out: the list of the account's sessions, each with a button. An admin sees and
may end those of all: of a laptop that was stolen, say.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from relay.store.console import console_sessions
from relay.store.console.audit_log import AuditedChange
from relay.store.console.roles import AccountRole
from relay.store.store import Store
from web import audited
from web.console import sign_in


class SessionPages:
    """The routes under `/sessions`."""

    def __init__(self, store: Store, page: Callable[..., Response]) -> None:
        self._store = store
        self._render_page = page

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/sessions", self.list_sessions),
            Route("/sessions", self.end_own_session, methods=["POST"]),
            Route("/sessions/others", self.end_session_of_another, methods=["POST"]),
        ]

    async def list_sessions(self, request: Request) -> Response:
        whose = "" if request.state.role is AccountRole.ADMIN else request.state.account
        found = await self._store.read(
            lambda connection: console_sessions.list_sessions(connection, datetime.now(UTC), whose)
        )
        return self._render_page(request, "sessions.html", "sessions", sessions=found, own=request.state.session)

    async def end_own_session(self, request: Request) -> Response:
        form, account = await sign_in.read_checked_form(request), request.state.account
        if form.get("do") == "everywhere":
            await audited.write(
                self._store,
                request,
                AuditedChange("session.end_all", account),
                lambda connection: console_sessions.end_sessions(connection, account),
            )
            request.session.clear()
            return RedirectResponse("/login", 303)
        return await self._end_session(request, str(form.get("session", "")), account)

    async def end_session_of_another(self, request: Request) -> Response:
        form = await sign_in.read_checked_form(request)
        return await self._end_session(request, str(form.get("session", "")), "")

    async def _end_session(self, request: Request, session: str, account: str) -> Response:
        """Ends that session, if it is the account's where one is named."""
        whose = await self._store.read(lambda connection: console_sessions.find_account(connection, session))
        has_ended = await audited.write(
            self._store,
            request,
            AuditedChange("session.end", whose),
            lambda connection: console_sessions.end_session(connection, session, account),
        )
        if session == request.state.session:
            request.session.clear()
            return RedirectResponse("/login", 303)
        request.session["notice"] = "That browser is signed out." if has_ended else "That session had ended already."
        return RedirectResponse("/sessions", 303)
