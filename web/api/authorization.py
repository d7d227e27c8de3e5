"""The gate of the JSON API: whose key a request has, and whether that may do what it asks for.

In: `Authorization: Bearer KEY`.  Out: the request goes on, or hears 401 (no key of ours), 403 (one without the scope)
or 503 (nobody can say). RFC 6750 §3.1.

What a key must have follows from method and path, so that a route that somebody adds is closed from the start: to look
at a resource, `read` or the resource's own scope; to change it, that scope; where a resource has none, all of them.
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
from relay.store.store import Store
from relay.store.views import json_objects
from web import visitors

Refuse = Callable[[int, str, str, dict[str, str]], Response]  # status, code, message, header fields
_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)


def wanted_scopes(method: str, path: str) -> list[str]:
    """The scopes of which a key needs one; none: it needs all that there are. `path` is below the API's own."""
    resource = path.strip("/").partition("/")[0]
    own = [resource] if resource in api_keys.SCOPES and resource != api_keys.READ else []
    return [*own, api_keys.READ] if method in ("GET", "HEAD") else own


class Gate:
    """Lets nobody through without a key that may do it."""

    def __init__(self, app: ASGIApp, config: Config, store: Store, path: str, refuse: Refuse) -> None:
        self._app = app
        self._store = store
        self._path = path
        self._refuse = refuse
        self._trusted = visitors.proxies_and_this_machine(config)
        self._failed = clients.failed_login_limit()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refusal := await self._refusal(Request(scope))):
            await refusal(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _refusal(self, request: Request) -> Response | None:
        said = _BEARER.fullmatch(request.headers.get("authorization", ""))
        now = datetime.now(UTC)
        try:
            key = await self._store.read(lambda connection: api_keys.find_key(connection, said[1])) if said else None
        except sa.exc.SQLAlchemyError:
            what = "the database does not answer; try again"
            return self._refuse(503, "unavailable", what, {"retry-after": "5"})
        if key is None:
            if said:
                self._note_failure(visitors.address(request, self._trusted))
            what = "send Authorization: Bearer KEY; waypost api-key create NAME makes one"
            return self._refuse(401, "unauthorized", what, {"www-authenticate": "Bearer"})
        if key.expires_at is not None and key.expires_at <= now:
            ended = json_objects.format_time(key.expires_at)
            what = f"the key {key.name} expired at {ended}; waypost api-key create makes another"
            return self._refuse(401, "unauthorized", what, {"www-authenticate": 'Bearer error="invalid_token"'})
        wanted = wanted_scopes(request.method, request.url.path.removeprefix(self._path))
        if not key.may(wanted):
            scopes = " or ".join(wanted) or "for all"
            what = f"the key {key.name} lacks the scope {scopes}; waypost api-key create NAME --scope … makes one"
            challenge = f'Bearer error="insufficient_scope", scope="{" ".join(wanted)}"'
            return self._refuse(403, "forbidden", what, {"www-authenticate": challenge})
        if key.is_use_due(now):
            # Not waited for: answers come while somebody else writes.
            self._store.writer.submit(lambda connection: api_keys.note_key_use(connection, key.name, now))
        return None

    def _note_failure(self, ip: str) -> None:
        """Says so in the log, but not without end. Nobody is kept out: a key has 256 bits."""
        now = time.monotonic()
        if ip and not self._failed.is_over(ip, now):
            self._failed.count(ip, now)
            log.login_failed("api", ip)
