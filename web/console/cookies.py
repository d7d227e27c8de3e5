"""The console's cookies: signed, hidden from scripts, and never sent in clear by a browser that speaks https.

In: a request.  Out: `scope["session"]`, a mapping that the answer puts back into a cookie. Behind https the cookies are
`Secure` and named `__Host-…`, so that no other host and no plain http can set them (RFC 6265bis §4.1.3); on plain http,
as on 127.0.0.1, browsers would not take such cookies.
"""

from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from relay.store.console import console_sessions

SESSION_COOKIE = "waypost_console"
BROWSER_COOKIE = "waypost_browser"
_HOST_PREFIX = "__Host-"
_MAX_BROWSER_AGE_S = 400 * 86_400  # the longest that browsers allow


class SessionCookies:
    """Starlette's sessions, under one name on https and under another on http."""

    def __init__(self, app: ASGIApp, key: bytes) -> None:
        self._on_https, self._on_http = (
            SessionMiddleware(
                app,
                secret_key=key.hex(),
                session_cookie=_cookie_name(SESSION_COOKIE, is_secure),
                max_age=int(console_sessions.LIFETIME.total_seconds()),
                same_site="lax",  # with strict, somebody who follows a link from a chat would see the login
                https_only=is_secure,
            )
            for is_secure in (True, False)
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_secure = scope["type"] == "http" and is_https(Request(scope))
        await (self._on_https if is_secure else self._on_http)(scope, receive, send)


def is_https(request: Request) -> bool:
    """True if the browser speaks https, perhaps to a proxy in front.

    A proxy may say so in a header field. Or the browser shows it: by a cookie that it sends over https only, or by the
    origin that it sends with a form. A client that lies gets cookies that its browser does not send back.
    """
    if request.url.scheme == "https" or _cookie_name(SESSION_COOKIE, True) in request.cookies:
        return True
    scheme = request.headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower()
    return scheme == "https" or request.headers.get("origin", "").lower().startswith("https://")


def read_browser_cookie(request: Request) -> str:
    """The browser's own cookie, or nothing."""
    return request.cookies.get(_cookie_name(BROWSER_COOKIE, is_https(request)), "")


def set_browser_cookie(request: Request, answer: Response, value: str) -> None:
    """Has the browser keep its own cookie, beyond the session."""
    is_secure = is_https(request)
    answer.set_cookie(
        _cookie_name(BROWSER_COOKIE, is_secure),
        value,
        max_age=_MAX_BROWSER_AGE_S,
        secure=is_secure,
        httponly=True,
        samesite="lax",
    )


def _cookie_name(name: str, is_secure: bool) -> str:
    return f"{_HOST_PREFIX}{name}" if is_secure else name
