"""Which role each route of the console needs, and the gate that asks for it.

In: a route and the role of the account that asks.  Out: the request goes on, or gets 403 with a page that says who may
do it. A route that has no line here stops the start, so that a new one is not open by mistake. Templates ask the same
table, so that nobody is shown a button that they may not use.
"""

from collections.abc import Mapping, Sequence

from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from relay.store.console.roles import AccountRole

_OPEN = None  # to everybody: what is needed to sign in, and what has keys of its own

ROUTE_ROLES: Mapping[str, AccountRole | None] = {
    "GET /healthz": _OPEN,
    "GET /metrics": _OPEN,
    "GET /api/openapi.json": _OPEN,
    "GET /login": _OPEN,
    "POST /login": _OPEN,
    "GET /login/oidc": _OPEN,
    "GET /login/oidc/callback": _OPEN,
    "GET /login/oidc/out": _OPEN,
    "POST /logout": AccountRole.VIEWER,
    "GET /": AccountRole.VIEWER,
    "GET /messages": AccountRole.VIEWER,
    "POST /messages": AccountRole.OPERATOR,
    "POST /messages/export": AccountRole.VIEWER,
    "GET /messages/live": AccountRole.VIEWER,
    "GET /messages.csv": AccountRole.VIEWER,
    "GET /messages.json": AccountRole.VIEWER,
    "GET /refused": AccountRole.VIEWER,
    "GET /messages/{message}": AccountRole.VIEWER,
    "POST /messages/{message}": AccountRole.OPERATOR,
    "GET /mailbox": AccountRole.VIEWER,
    "POST /mailbox/delete": AccountRole.OPERATOR,
    "GET /mailbox/{message}/{number:int}": AccountRole.VIEWER,
    "GET /mailbox/{message}/{number:int}/html": AccountRole.VIEWER,
    "GET /mailbox/{message}/{number:int}/part/{part:int}": AccountRole.VIEWER,
    "GET /mailbox/{message}/{number:int}/sent.eml": AccountRole.VIEWER,
    "GET /mailbox/{message}/{number:int}/received.eml": AccountRole.VIEWER,
    "GET /queue": AccountRole.VIEWER,
    "GET /upstreams": AccountRole.VIEWER,
    "POST /queue": AccountRole.OPERATOR,
    "GET /bounces": AccountRole.VIEWER,
    "GET /links": AccountRole.VIEWER,
    "GET /suppressions": AccountRole.VIEWER,
    "POST /suppressions": AccountRole.OPERATOR,
    "GET /suppressions.csv": AccountRole.VIEWER,
    "GET /suppressions/import": AccountRole.OPERATOR,
    "POST /suppressions/import": AccountRole.OPERATOR,
    "POST /suppressions/remove-many": AccountRole.OPERATOR,
    "GET /suppressions/remove": AccountRole.OPERATOR,
    "POST /suppressions/remove": AccountRole.OPERATOR,
    "GET /pixels": AccountRole.VIEWER,
    "POST /pixels": AccountRole.OPERATOR,
    "GET /pixels/{pixel}": AccountRole.VIEWER,
    "POST /pixels/{pixel}/remove": AccountRole.OPERATOR,
    "GET /webhooks": AccountRole.VIEWER,
    "POST /webhooks": AccountRole.ADMIN,
    "GET /webhooks/{webhook}": AccountRole.VIEWER,
    "POST /webhooks/{webhook}": AccountRole.ADMIN,
    "POST /webhooks/{webhook}/send": AccountRole.OPERATOR,
    "GET /settings": AccountRole.ADMIN,
    "GET /settings/audit": AccountRole.ADMIN,
    "GET /settings/checks": AccountRole.ADMIN,
    "POST /settings/checks": AccountRole.ADMIN,
    "POST /settings/keys": AccountRole.ADMIN,
    "POST /settings/keys/revoke": AccountRole.ADMIN,
    "POST /settings/accounts": AccountRole.ADMIN,
    "POST /settings/accounts/role": AccountRole.ADMIN,
    "POST /settings/accounts/remove": AccountRole.ADMIN,
    "GET /sessions": AccountRole.VIEWER,  # their own; an admin sees those of all
    "POST /sessions": AccountRole.VIEWER,
    "POST /sessions/others": AccountRole.ADMIN,
}


class RoleRequiredError(HTTPException):
    """The account may not do that."""

    def __init__(self, role: AccountRole) -> None:
        super().__init__(403)
        self.role = role


def may(role: AccountRole, route: str) -> bool:
    """True if that role may use the route, which is named as in the table."""
    needed = ROUTE_ROLES[route]
    return needed is None or role.includes(needed)


def guard_routes(routes: Sequence[BaseRoute]) -> list[BaseRoute]:
    """The same routes behind the gate. Raises KeyError for one that the table does not have."""
    for route in routes:
        if isinstance(route, Route):
            methods = sorted((route.methods or set()) - {"HEAD"})
            route.app = _RoleGate(route.app, {method: ROUTE_ROLES[f"{method} {route.path}"] for method in methods})
    return list(routes)


class _RoleGate:
    def __init__(self, app: ASGIApp, roles: Mapping[str, AccountRole | None]) -> None:
        self._app = app
        self._roles = dict(roles) | ({"HEAD": roles["GET"]} if "GET" in roles else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Another method is answered 405 by the route itself.
        needed = self._roles.get(scope["method"])
        role = scope.get("state", {}).get("role")
        if needed is not None and not (isinstance(role, AccountRole) and role.includes(needed)):
            raise RoleRequiredError(needed)
        await self._app(scope, receive, send)
