"""The gate of the JSON API: whose key a request has, and whether that may do what it asks for.

In: `Authorization: Bearer KEY`.  Out: the request goes on, or gets 401 (no key of ours), 403 (a key without the
scope) or 503 (the database does not answer). RFC 6750 §3.1.

The scope that a key needs follows from method and path, so that a new route is never open by mistake. Reading a
resource needs `read` or the resource's own scope; changing it needs `write` or that scope. A resource without a scope
of its own needs a key with all scopes.
"""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime

import sqlalchemy as sa
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from relay import clients, log
from relay.config.schema import Config
from relay.store.console import api_keys
from relay.store.console.audit_log import Actor, Door
from relay.store.store import Store
from relay.store.views import json_objects
from web import visitors

MakeErrorResponse = Callable[[int, str, str, dict[str, str]], Response]  # status, code, message, header fields
_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)


def required_scopes(method: str, path: str) -> list[str]:
    """The scopes of which a key needs one; if there is none, it needs all scopes. `path` is below the API's own."""
    resource = path.strip("/").removeprefix("bulk/").partition("/")[0]
    if resource == api_keys.AUDIT:  # it names people who work here, so that `read` is not enough
        return [api_keys.AUDIT] if method in ("GET", "HEAD") else []
    own = [resource] if resource in (*api_keys.RESOURCES, api_keys.METRICS) else []
    if method in ("GET", "HEAD"):
        return [*own, api_keys.READ]
    return [*own, api_keys.WRITE] if own else []


class RequireApiKey:
    """Refuses requests without a key that allows them."""

    def __init__(self, app: ASGIApp, config: Config, store: Store, path: str, make_error: MakeErrorResponse) -> None:
        self._app = app
        self._store = store
        self._path = path
        self._make_error = make_error
        self._trusted = visitors.proxies_and_loopback(config)
        self._failed_logins = clients.failed_login_limit()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refusal := await self._refusal(Request(scope))):
            await refusal(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _refusal(self, request: Request) -> Response | None:
        bearer = _BEARER.fullmatch(request.headers.get("authorization", ""))
        now = datetime.now(UTC)
        try:
            key = (
                await self._store.read(lambda connection: api_keys.find_key(connection, bearer[1])) if bearer else None
            )
        except sa.exc.SQLAlchemyError:
            what = "the database does not answer; try again"
            return self._make_error(503, "unavailable", what, {"retry-after": "5"})
        if key is None:
            if bearer:
                self._count_failure(visitors.client_address(request, self._trusted))
            what = "send Authorization: Bearer KEY; waypost api-key create NAME makes one"
            return self._make_error(401, "unauthorized", what, {"www-authenticate": "Bearer"})
        if key.expires_at is not None and key.expires_at <= now:
            ended = json_objects.format_time(key.expires_at)
            what = f"the key {key.name} expired at {ended}; waypost api-key create makes another"
            return self._make_error(401, "unauthorized", what, {"www-authenticate": 'Bearer error="invalid_token"'})
        wanted = required_scopes(request.method, request.url.path.removeprefix(self._path))
        if not key.may(wanted):
            scopes = " or ".join(wanted) or "for all"
            what = f"the key {key.name} lacks the scope {scopes}; waypost api-key create NAME --scope … makes one"
            challenge = f'Bearer error="insufficient_scope", scope="{" ".join(wanted)}"'
            return self._make_error(403, "forbidden", what, {"www-authenticate": challenge})
        request.state.api_key = key.name
        ip = visitors.client_address(request, self._trusted)
        request.state.actor = Actor(Door.API, key.name, ip)
        if key.is_use_due(now):
            # We do not wait for this write, so that answers come while others write.
            self._store.writer.submit(lambda connection: api_keys.note_key_use(connection, key.name, now))
        return None

    def _count_failure(self, ip: str) -> None:
        """Logs the failure, up to a limit. Nobody is locked out: a key has 256 bits, so guessing is hopeless."""
        now = time.monotonic()
        if ip and not self._failed_logins.is_over(ip, now):
            self._failed_logins.count(ip, now)
            log.login_failed("api", ip)
