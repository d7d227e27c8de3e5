"""Who may see the console: accounts, a signed cookie, and a gate in front of everything.

In: a name and a password, checked against argon2id hashes.  Out: a session in a cookie that the server signed and
no script can read, bound to the password: a new password ends it.

Against requests that another site makes in the operator's name: every form carries a token of the session, and what
the browser says of a request's origin (`Sec-Fetch-Site`, `Origin`) is believed when it says "elsewhere".
"""

import asyncio
import hashlib
import hmac
import math
import secrets
import time
from collections import deque
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlsplit

import sqlalchemy as sa
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from relay import log, tokens
from relay.config.schema import Config
from relay.store import accounts
from relay.store.store import Store
from web import api, visitors
from web.pages import Pages

LIFETIME = timedelta(days=14)
COOKIE = "waypost_console"
_OPEN_PATHS = ("/login", "/healthz", api.DESCRIPTION)
_OPEN_FOLDER = "/static/"
_FREE_FAILURES = 5
_LONGEST_WAIT_S = 300.0
_FORGET_AFTER_S = 900.0
_MOST_ADDRESSES = 10_000
_LONGEST_PASSWORD = 1024  # characters; argon2 reads them all
# Letters and digits that nobody mistakes for each other.
_READABLE = "abcdefghjkmnpqrstuvwxyz23456789"


def first_account(store: Store) -> tuple[str, str] | None:
    """Makes the account `admin` if there is no account at all. Returns its name and password, to be shown once;
    else None. Blocks until it is durable. Raises sqlalchemy.exc.SQLAlchemyError."""
    name = "admin"
    password = "-".join("".join(secrets.choice(_READABLE) for _ in range(5)) for _ in range(4))  # 99 bits

    def make(session: sa.Connection) -> bool:
        if accounts.any_exist(session):
            return False
        accounts.put(session, name, password, datetime.now(UTC))
        return True

    return (name, password) if store.writer.submit(make).result() else None


class Throttle:
    """Slows down who guesses: after five failures each further one doubles the wait, by address."""

    def __init__(self) -> None:
        self._failures: dict[str, deque[float]] = {}

    def wait_s(self, ip: str, now_s: float) -> float:
        """How long this address must wait before its next try; 0 for not at all."""
        failures = self._failures.get(ip)
        if not failures:
            return 0.0
        if now_s - failures[-1] > _FORGET_AFTER_S:
            del self._failures[ip]
            return 0.0
        excess = len(failures) - _FREE_FAILURES
        return max(0.0, failures[-1] + min(2.0**excess, _LONGEST_WAIT_S) - now_s) if excess >= 0 else 0.0

    def failed(self, ip: str, now_s: float) -> None:
        if ip not in self._failures and len(self._failures) >= _MOST_ADDRESSES:
            del self._failures[next(iter(self._failures))]
        self._failures.setdefault(ip, deque(maxlen=_FREE_FAILURES + 10)).append(now_s)

    def succeeded(self, ip: str) -> None:
        self._failures.pop(ip, None)


class Gate:
    """Lets nobody through to a page without a session; a route that somebody adds is closed from the start."""

    def __init__(self, app: ASGIApp, store: Store, pages: Pages) -> None:
        self._app = app
        self._store = store
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        path = request.url.path
        if api.is_api(path):  # which has keys for a gate
            await self._app(scope, receive, send)
            return
        is_open = path in _OPEN_PATHS or path.startswith(_OPEN_FOLDER)
        if request.method not in ("GET", "HEAD") and _comes_from_elsewhere(request):
            await self._pages.answer("missing.html", 403, account="")(scope, receive, send)
            return
        if is_open or await self._is_signed_in(request):
            await self._app(scope, receive, send)
            return
        request.session.clear()
        target = f"/login?next={_quoted(path, request.url.query)}" if request.method in ("GET", "HEAD") else "/login"
        await RedirectResponse(target, 303)(scope, receive, send)

    async def _is_signed_in(self, request: Request) -> bool:
        name, seal = request.session.get("account"), request.session.get("seal")
        if not isinstance(name, str) or not isinstance(seal, str):
            return False
        stored = await self._store.read(lambda session: accounts.password_hash(session, name))
        return stored is not None and hmac.compare_digest(_seal(stored), seal)


class Login:
    """The login form and the way out."""

    def __init__(self, config: Config, store: Store, pages: Pages) -> None:
        self._config = config
        self._store = store
        self._pages = pages
        self._throttle = Throttle()
        self._verifying = asyncio.Semaphore(2)  # each takes a core and 64 MB for a moment

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/login", self.show),
            Route("/login", self.enter, methods=["POST"]),
            Route("/logout", self.leave, methods=["POST"]),
        ]

    async def show(self, request: Request) -> Response:
        return self._page(request.query_params.get("next", ""))

    async def enter(self, request: Request) -> Response:
        form = await request.form(max_files=0)
        name, password, wanted = (_text(form, field) for field in ("name", "password", "next"))
        ip = visitors.address(request, self._config.tracking.trusted_proxies)
        wait_s = self._throttle.wait_s(ip, time.monotonic())
        if wait_s > 0:
            seconds = math.ceil(wait_s)
            return self._page(
                wanted, name, f"Too many tries. Please wait {seconds} s.", 429, {"retry-after": str(seconds)}
            )
        stored = await self._store.read(lambda session: accounts.password_hash(session, name))
        async with self._verifying:
            is_right = await asyncio.to_thread(accounts.verify, stored, password[:_LONGEST_PASSWORD])
        if not is_right or stored is None:
            self._throttle.failed(ip, time.monotonic())
            log.sign_in_failed(ip)
            return self._page(wanted, name, "That name and password do not match.", 401)
        self._throttle.succeeded(ip)
        log.signed_in(name)
        request.session.clear()
        request.session.update(account=name, seal=_seal(stored), csrf=secrets.token_urlsafe(24))
        return RedirectResponse(_local(wanted), 303)

    async def leave(self, request: Request) -> Response:
        await checked_form(request)
        request.session.clear()
        return RedirectResponse("/login", 303)

    def _page(
        self, wanted: str, name: str = "", error: str = "", status: int = 200, headers: dict[str, str] | None = None
    ) -> Response:
        return self._pages.answer("login.html", status, headers, next=wanted, name=name, error=error, account="")


def middleware(store: Store, ring: tokens.KeyRing, pages: Pages) -> list[Middleware]:
    """The session's cookie, then the gate."""
    return [
        Middleware(
            SessionMiddleware,
            secret_key=ring.secret_for("console-session").hex(),
            session_cookie=COOKIE,
            max_age=int(LIFETIME.total_seconds()),
            same_site="lax",  # strict would show the login to whoever follows a link from a chat
        ),
        Middleware(Gate, store=store, pages=pages),
    ]


async def checked_form(request: Request) -> FormData:
    """A form of ours. Raises HTTPException 403 if it does not carry the session's token."""
    form = await request.form(max_files=0)
    expected = request.session.get("csrf")
    if not isinstance(expected, str) or not hmac.compare_digest(expected.encode(), _text(form, "csrf").encode()):
        raise HTTPException(403)
    return form


def _comes_from_elsewhere(request: Request) -> bool:
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc.lower() != request.headers.get("host", "").lower()


def _seal(stored: str) -> str:
    return hashlib.sha256(stored.encode()).hexdigest()[:32]


def _text(form: FormData, field: str) -> str:
    value = form.get(field)
    return value if isinstance(value, str) else ""


def _quoted(path: str, query: str) -> str:
    return quote(f"{path}?{query}" if query else path, safe="/")


def _local(wanted: str) -> str:
    """The path to go on to: one of ours, never another host (`//host`, `/\\host`)."""
    is_ours = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable()
    return wanted if is_ours else "/"
