"""Who may see the console: accounts, sessions, and a gate in front of everything.

In: a name and a password, checked against argon2id hashes.  Out: a session, which the database knows and a cookie
names. It ends when the user signs out, after two weeks, and when the account gets another password.

Two checks stop requests that another site makes in the operator's name: every form carries a token of the session, and
a request whose `Sec-Fetch-Site` or `Origin` names another site is refused.
"""

import asyncio
import contextlib
import hmac
import math
import secrets
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

import sqlalchemy as sa
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from relay import log, tokens
from relay.config.schema import Config
from relay.store.console import accounts, console_sessions
from relay.store.console.audit_log import Actor, AuditedChange, Door
from relay.store.console.roles import AccountRole
from relay.store.database import errors
from relay.store.store import Store
from web import api_paths, audited, metrics, visitors
from web.console import cookies, proxy_auth, sign_in_limits
from web.rendering import TemplateRenderer

_OPEN_PATHS = ("/login", "/login/oidc", "/login/oidc/callback", "/login/oidc/out", "/healthz", api_paths.DESCRIPTION)
_OPEN_FOLDER = "/static/"
MAX_PASSWORD = 1024  # characters; argon2 reads them all
_MAX_NAME = 200  # characters of a name under which sign-ins are counted
DATABASE_UNAVAILABLE = "The database does not answer, so nobody can sign in now. Please try again in a moment."
# Letters and digits that nobody mistakes for each other.
_READABLE_CHARACTERS = "abcdefghjkmnpqrstuvwxyz23456789"


def create_first_account(store: Store, password: str = "") -> tuple[str, str] | None:
    """Makes the account `admin` if there is no account at all, with a password of its own if none is given. Returns its
    name and password, to be shown once; else None. Blocks until it is durable. Raises
    sqlalchemy.exc.SQLAlchemyError."""
    name = accounts.FIRST_ACCOUNT
    password = password or "-".join(
        "".join(secrets.choice(_READABLE_CHARACTERS) for _ in range(5)) for _ in range(4)
    )  # 99 bits

    def make(connection: sa.Connection) -> bool:
        if accounts.has_accounts(connection):
            return False
        accounts.set_password(connection, name, password, datetime.now(UTC))
        return True

    return (name, password) if store.writer.submit(make).result() else None


class RequireLogin:
    """Refuses requests for pages without a session. A new route is closed unless it is listed here as open."""

    def __init__(self, app: ASGIApp, config: Config, store: Store, renderer: TemplateRenderer) -> None:
        self._app = app
        self._proxy_auth = config.console.proxy_auth
        self._trusted = visitors.proxies_and_loopback(config)
        self._store = store
        self._renderer = renderer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        path = request.url.path
        if api_paths.is_api_path(path) or path == metrics.PATH:  # which have keys for a gate
            await self._app(scope, receive, send)
            return
        if request.method not in ("GET", "HEAD") and _is_cross_site(request):
            await self._renderer.render("error.html", 403, account="")(scope, receive, send)
            return
        if path not in _OPEN_PATHS and not path.startswith(_OPEN_FOLDER):
            try:
                is_known = await self._know_account(request)
            except sa.exc.SQLAlchemyError as error:
                await unavailable_response(self._renderer, error)(scope, receive, send)
                return
            if not is_known:
                await _redirect_to_login(request)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _know_account(self, request: Request) -> bool:
        """Stores the signed-in account in the request's state. False if nobody is signed in. Raises
        sqlalchemy.exc.SQLAlchemyError."""
        state = request.state
        if user := proxy_auth.read_user(request, self._proxy_auth):
            known = await self._store.read(lambda connection: accounts.find_role(connection, user.name))
            state.account, state.session, state.leaves_by = user.name, "", self._proxy_auth.sign_out_url
            state.role = user.role or known or AccountRole(self._proxy_auth.role)
            request.session.setdefault("csrf", secrets.token_urlsafe(24))
        elif session := await self._find_session(request):
            state.account, state.session, state.leaves_by = session["account"], session["digest"], ""
            state.role, state.is_external = AccountRole(session["role"]), bool(session["subject"])
        else:
            return False
        state.actor = Actor(Door.CONSOLE, state.account, visitors.client_address(request, self._trusted))
        return True

    async def _find_session(self, request: Request) -> sa.RowMapping | None:
        """The session that the cookie names, if it lasts. Raises sqlalchemy.exc.SQLAlchemyError."""
        named, now = request.session.get("id"), datetime.now(UTC)
        if not isinstance(named, str):
            return None
        row = await self._store.read(lambda connection: console_sessions.find_session(connection, named, now))
        if row is not None and console_sessions.is_use_due(row, now):
            # We do not wait for this write, so that pages are shown while others write.
            self._store.writer.submit(
                lambda connection: console_sessions.note_session_use(connection, row["digest"], now)
            )
        return row


class LoginPages:
    """The login form and the way out."""

    def __init__(self, config: Config, store: Store, ring: tokens.KeyRing, renderer: TemplateRenderer) -> None:
        self._store = store
        self._renderer = renderer
        self._first_password = accounts.first_password_file(config.relay.data_dir)
        self._trusted = visitors.proxies_and_loopback(config)
        self._attempt_limits = sign_in_limits.SignInLimits()
        self._browsers = sign_in_limits.BrowserCookies(ring.derive_secret("console-browser"))
        self._verifying = asyncio.Semaphore(2)  # each takes a core and 64 MB for a moment

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/login", self.show_form),
            Route("/login", self.sign_in, methods=["POST"]),
            Route("/logout", self.sign_out, methods=["POST"]),
        ]

    async def show_form(self, request: Request) -> Response:
        return self._render_form(request.query_params.get("next", ""), has_signed_out="out" in request.query_params)

    async def sign_in(self, request: Request) -> Response:
        form = await request.form(max_files=0)
        name, password, wanted = (_form_text(form, field) for field in ("name", "password", "next"))
        ip = visitors.client_address(request, self._trusted)
        browser = self._browsers.read_browser(cookies.read_browser_cookie(request), name)
        wait_s, guess = self._attempt_limits.start_attempt(ip, name[:_MAX_NAME], browser)
        if wait_s:
            return self._render_form(wanted, name, _wait_text(ip, wait_s), 429, {"retry-after": str(math.ceil(wait_s))})
        try:
            session = await self._start_session(name, password, request, ip)
        except sa.exc.SQLAlchemyError as error:
            self._attempt_limits.forget_attempt(guess)
            errors.log_failure(error, "console")
            return self._render_form(wanted, name, DATABASE_UNAVAILABLE, 503, {"retry-after": "5"})
        if session is None:
            log.login_failed("console", ip)
            return self._render_form(wanted, name, "That name and password do not match.", 401)
        self._attempt_limits.forget_attempt(guess)
        log.signed_in(name)
        if name == accounts.FIRST_ACCOUNT:
            with contextlib.suppress(OSError):
                self._first_password.unlink(missing_ok=True)
        answer = start_session(request, session, wanted)
        cookies.set_browser_cookie(
            request, answer, cookies.read_browser_cookie(request) if browser else self._browsers.make_cookie(name)
        )
        return answer

    async def _start_session(self, name: str, password: str, request: Request, ip: str) -> str | None:
        """Begins a session and returns its random bits; None if name and password do not match.
        Raises sqlalchemy.exc.SQLAlchemyError."""
        stored = await self._store.read(lambda connection: accounts.password_hash(connection, name))
        async with self._verifying:
            is_right = await asyncio.to_thread(accounts.verify_password, stored, password[:MAX_PASSWORD])
        if not is_right or stored is None:
            return None
        session, user_agent, now = secrets.token_urlsafe(32), request.headers.get("user-agent", ""), datetime.now(UTC)
        before = request.session.get("id")

        def start(connection: sa.Connection) -> bool:
            if isinstance(before, str):
                console_sessions.end_session(connection, console_sessions.session_digest(before))
            return console_sessions.start_session(connection, session, name, stored, now, user_agent=user_agent, ip=ip)

        request.state.actor = Actor(Door.CONSOLE, name, ip)
        is_started = await audited.write(self._store, request, AuditedChange("session.start", name), start)
        return session if is_started else None

    async def sign_out(self, request: Request) -> Response:
        await read_checked_form(request)
        try:
            await audited.write(
                self._store,
                request,
                AuditedChange("session.end", request.state.account),
                lambda connection: console_sessions.end_session(connection, request.state.session),
            )
        except sa.exc.SQLAlchemyError as error:  # otherwise anybody who has the cookie could go on
            return unavailable_response(self._renderer, error)
        request.session.clear()
        return RedirectResponse("/login?out=1" if getattr(request.state, "is_external", False) else "/login", 303)

    def _render_form(
        self,
        next_path: str,
        name: str = "",
        error: str = "",
        status: int = 200,
        headers: dict[str, str] | None = None,
        *,
        has_signed_out: bool = False,
    ) -> Response:
        """`has_signed_out`: somebody whom the OpenID provider had signed in has just signed out."""
        values = {"next": next_path, "name": name, "error": error, "account": "", "out": has_signed_out}
        return self._renderer.render("login.html", status, headers, **values)


def login_middleware(
    config: Config, store: Store, ring: tokens.KeyRing, renderer: TemplateRenderer
) -> list[Middleware]:
    """The session's cookie, then the gate."""
    return [
        Middleware(cookies.SessionCookies, key=ring.derive_secret("console-session")),
        Middleware(RequireLogin, config=config, store=store, renderer=renderer),
    ]


def start_session(request: Request, session: str, next_path: str) -> Response:
    """Gives the browser its new session, and leads to the page that was asked for."""
    request.session.clear()
    request.session.update(id=session, csrf=secrets.token_urlsafe(24))
    return RedirectResponse(_local_path(next_path), 303)


def unavailable_response(renderer: TemplateRenderer, error: sa.exc.SQLAlchemyError) -> Response:
    """What is shown while the database does not answer."""
    errors.log_failure(error, "console")
    return renderer.render("unavailable.html", 503, {"retry-after": "5"}, account="")


async def read_checked_form(request: Request) -> FormData:
    """A form of ours. Raises HTTPException 403 if it does not carry the session's token."""
    form = await request.form(max_files=0)
    expected = request.session.get("csrf")
    if not isinstance(expected, str) or not hmac.compare_digest(expected.encode(), _form_text(form, "csrf").encode()):
        raise HTTPException(403)
    return form


def _is_cross_site(request: Request) -> bool:
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc.lower() != request.headers.get("host", "").lower()


def _redirect_to_login(request: Request) -> Response:
    # What else is in there belongs to a sign-in that is under way in another tab.
    for name in ("id", "csrf", "notice"):
        request.session.pop(name, None)
    if request.method not in ("GET", "HEAD"):
        return RedirectResponse("/login", 303)
    return RedirectResponse(f"/login?next={_quote_path(request.url.path, request.url.query)}", 303)


def _wait_text(ip: str, wait_s: float) -> str:
    wait = f"{math.ceil(wait_s)} s" if wait_s < 120 else f"{math.ceil(wait_s / 60)} minutes"
    return (
        f"Too many wrong passwords came from the network of {ip}, or for this name. Please wait {wait}, or use a "
        "browser that has signed in before. If that is your proxy, name it in [tracking] trusted_proxies."
    )


def _form_text(form: FormData, field: str) -> str:
    value = form.get(field)
    return value if isinstance(value, str) else ""


def _quote_path(path: str, query: str) -> str:
    return quote(f"{path}?{query}" if query else path, safe="/")


def _local_path(path: str) -> str:
    """The path to go on to: one of ours, never another host (`//host`, `/\\host`)."""
    is_ours = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_ours else "/"
