"""Sign-in by an OpenID provider (`[console.oidc]`): the way there, and the way back.

In: a browser that wants to sign in, then the provider's answer.  Out: a session of an account whose role follows from
the groups and addresses that the provider vouches for. OpenID Connect Core 1.0 §3.1, RFC 7636 (PKCE); authlib does the
protocol (an extra: waypost[oidc]). An answer that the provider did not sign for us and for this browser is refused.
"""

import contextlib
import importlib
import secrets
import time
import warnings
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

import sqlalchemy as sa
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from relay import clients, log
from relay.config.schema import Config
from relay.config.sign_in import OidcConfig
from relay.operator_error import OperatorError
from relay.store.console import accounts, console_sessions
from relay.store.console.audit_log import Actor, AuditedChange, Door
from relay.store.console.roles import AccountRole
from relay.store.database import errors
from relay.store.store import Store
from web import audited, visitors
from web.console import cookies, sign_in
from web.rendering import TemplateRenderer

PATH = "/login/oidc"
_MAX_PROVIDER_S = 10.0
_MAX_METADATA_AGE_S = 86_400.0
_MAX_NAME = 64  # characters of an account's name
_MAX_GROUPS = 1000  # that are looked at
# Signatures that only the provider can make: not "none", and not HMAC under the secret that we have too.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")

Claims = Mapping[str, Any]  # Any: what the provider says


class OidcError(OperatorError):
    """authlib is not there."""


class ProviderError(Exception):
    """The provider does not answer, or its answer cannot be believed."""


def check_authlib(config: Config) -> None:
    """Raises OidcError if sign-in by a provider is wanted and authlib is not installed."""
    if config.console.oidc.issuer:
        _import_authlib()


def _import_authlib() -> Any:  # Any: authlib is not there for everybody
    try:
        importlib.import_module("authlib.deprecate")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it prefers another HTTP client than ours
            return importlib.import_module("authlib.integrations.starlette_client")
    except ImportError:
        raise OidcError("[console.oidc] needs authlib: pip install 'waypost[oidc]'") from None


def find_role(claims: Claims, oidc: OidcConfig) -> AccountRole | None:
    """The highest role that the groups or the address of a user have; None: they may not sign in.

    An address counts if the provider says that it is the user's (`email_verified`): with many providers anybody may
    write any address into their profile.
    """
    named = claims.get(oidc.groups_claim)
    groups = (
        {named} if isinstance(named, str) else set(map(str, named[:_MAX_GROUPS])) if isinstance(named, list) else set()
    )
    email = _verified_email(claims)
    for role, allowed in (
        (AccountRole.ADMIN, oidc.admins),
        (AccountRole.OPERATOR, oidc.operators),
        (AccountRole.VIEWER, oidc.viewers),
    ):
        if any(_is_meant(one, groups, email) for one in allowed):
            return role
    return None


def _is_meant(entry: str, groups: Collection[str], email: str) -> bool:
    if entry == "*":
        return True
    if "@" in entry:
        wanted = entry.lower()
        return bool(email) and (email == wanted or (wanted.startswith("@") and email.endswith(wanted)))
    return entry in groups


def _verified_email(claims: Claims) -> str:
    email = claims.get("email")
    return email.lower() if isinstance(email, str) and claims.get("email_verified") is True else ""


def account_name(claims: Claims) -> str:
    """What the account is called: the address, or else the user name, or else the provider's id of the user."""
    for name in (_verified_email(claims), claims.get("preferred_username"), claims.get("sub")):
        if isinstance(name, str) and 0 < len(name) <= _MAX_NAME and name.isprintable():
            return name
    raise ProviderError("the user has no name")


class _ProviderClient:
    """The provider, as its discovery document describes it; that is read once a day."""

    def __init__(self, oidc: OidcConfig) -> None:
        self._oidc = oidc
        self._client: Any = None  # Any: authlib's
        self._read_at_s = 0.0

    async def client(self) -> Any:  # Any: authlib's
        """authlib's client, with what the provider says of itself. Raises ProviderError."""
        if self._client is None or time.monotonic() - self._read_at_s > _MAX_METADATA_AGE_S:
            made = (
                _import_authlib()
                .OAuth()
                .register(
                    "waypost",
                    client_id=self._oidc.client_id,
                    client_secret=self._oidc.client_secret.get_secret_value() or None,
                    server_metadata_url=f"{self._oidc.issuer}/.well-known/openid-configuration",
                    client_kwargs={
                        "scope": " ".join(self._oidc.scopes),
                        "code_challenge_method": "S256",
                        "timeout": _MAX_PROVIDER_S,
                    },
                )
            )
            found = await made.load_server_metadata()
            if str(found.get("issuer", "")).rstrip("/") != self._oidc.issuer:
                raise ProviderError("its discovery document names another issuer")
            offered = found.get("id_token_signing_alg_values_supported") or ["RS256"]
            found["id_token_signing_alg_values_supported"] = [one for one in _ALGORITHMS if one in offered]
            made.client_kwargs["token_endpoint_auth_method"] = self._auth_method(found)
            self._client, self._read_at_s = made, time.monotonic()
        return self._client

    def _auth_method(self, metadata: Claims) -> str:
        if not self._oidc.client_secret.get_secret_value():
            return "none"
        offered = metadata.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        return "client_secret_basic" if "client_secret_basic" in offered else "client_secret_post"

    async def read_claims(self, request: Request) -> Claims:
        """What the provider says of the user who comes back with this request. Raises ProviderError."""
        client = await self.client()
        metadata = client.server_metadata
        wanted = {
            "iss": {"essential": True, "values": [metadata["issuer"]]},
            "aud": {"essential": True, "values": [self._oidc.client_id]},
            "sub": {"essential": True},
        }
        token = await client.authorize_access_token(request, claims_options=wanted)
        claims = token.get("userinfo")
        if not claims:
            raise ProviderError("its answer has no ID token")
        claims = dict(claims)
        is_short = self._oidc.groups_claim not in claims or "email" not in claims
        if is_short and metadata.get("userinfo_endpoint"):
            more = dict(await client.userinfo(token=token))
            if more.get("sub") != claims["sub"]:  # OpenID Connect Core §5.3.2
                raise ProviderError("its userinfo is about somebody else")
            claims = more | claims
        return claims


class OidcPages:
    """The routes under `/login/oidc`."""

    def __init__(self, config: Config, store: Store, renderer: TemplateRenderer) -> None:
        self._oidc = config.console.oidc
        self._store = store
        self._renderer = renderer
        self._provider = _ProviderClient(self._oidc)
        self._trusted = visitors.proxies_and_loopback(config)
        self._failures = clients.failed_login_limit()

    def routes(self) -> list[BaseRoute]:
        return [
            Route(PATH, self.start_sign_in),
            Route(f"{PATH}/callback", self.end_sign_in),
            Route(f"{PATH}/out", self.sign_out),
        ]

    async def start_sign_in(self, request: Request) -> Response:
        """Sends the browser to the provider, with state, nonce and a PKCE challenge."""
        self._check_is_configured()
        try:
            client = await self._provider.client()
            wanted = request.query_params.get("next", "")
            answer: Response = await client.authorize_redirect(request, self._callback_url(request))
        except _faults() as error:
            return self._refuse(request, error)
        request.session["next"] = wanted[:1000]
        return answer

    async def end_sign_in(self, request: Request) -> Response:
        """Takes the provider's answer and signs the user in."""
        self._check_is_configured()
        wanted, ip = str(request.session.get("next", "")), visitors.client_address(request, self._trusted)
        if ip and (wait_s := self._failures.wait_s(ip, time.monotonic())):
            return self._render_form(f"Too many sign-ins failed from the network of {ip}. Please wait.", 429, wait_s)
        try:
            claims = await self._provider.read_claims(request)
            name = account_name(claims)
        except _faults() as error:
            return self._refuse(request, error)
        role = find_role(claims, self._oidc)
        if role is None:
            log.sign_in_refused("oidc", ip, "no_role")
            text = (
                f"{self._oidc.name} knows you as {name}, but neither your groups nor your address may use this console."
            )
            return self._render_form(text, 403)
        try:
            started = await self._start_session(request, name, f"{claims['iss']} {claims['sub']}", role, ip)
        except sa.exc.SQLAlchemyError as error:
            errors.log_failure(error, "console")
            return self._render_form(sign_in.DATABASE_UNAVAILABLE, 503, 5)
        if started is None:
            log.sign_in_refused("oidc", ip, "name_taken")
            text = f"There is another account named {name}. An admin can remove it: waypost user remove {name}"
            return self._render_form(text, 403)
        log.signed_in(started[0])
        return sign_in.start_session(request, started[1], wanted)

    async def _start_session(
        self, request: Request, name: str, subject: str, role: AccountRole, ip: str
    ) -> tuple[str, str] | None:
        """Begins a session of the user's account, which is made where there is none. Returns the account's name and the
        session's random bits; None if somebody else has the name. Raises sqlalchemy.exc.SQLAlchemyError."""
        session, now = secrets.token_urlsafe(32), datetime.now(UTC)
        user_agent = request.headers.get("user-agent", "")

        def start(connection: sa.Connection) -> str:
            account = accounts.note_external_account(connection, name, subject, role, now)
            if account:
                console_sessions.start_session(
                    connection, session, account, "", now, user_agent=user_agent, ip=ip, lifetime=self._oidc.session
                )
            return account

        request.state.actor = Actor(Door.CONSOLE, name, ip)
        change = AuditedChange("session.start", name, detail=f"{role}, by {self._oidc.name}")
        account = await audited.write(self._store, request, change, start, count=lambda made: int(bool(made)))
        return (account, session) if account else None

    async def sign_out(self, request: Request) -> Response:
        """Sends a browser that is signed out here on to the provider's own sign-out."""
        self._check_is_configured()
        try:
            url = (await self._provider.client()).server_metadata.get("end_session_endpoint")
        except _faults() as error:
            return self._refuse(request, error)
        if not isinstance(url, str) or not url.startswith(("https://", "http://")):
            return self._render_form(
                f"{self._oidc.name} offers no sign-out. Close the browser, or sign out there.", 404
            )
        return RedirectResponse(
            urlsplit(url)._replace(query=urlencode({"client_id": self._oidc.client_id})).geturl(), 303
        )

    def _callback_url(self, request: Request) -> str:
        if self._oidc.redirect_url:
            return self._oidc.redirect_url
        scheme = "https" if cookies.is_https(request) else "http"
        return f"{scheme}://{request.url.netloc}{PATH}/callback"  # KnownHosts has looked at the name

    def _check_is_configured(self) -> None:
        if not self._oidc.issuer:
            raise HTTPException(404)

    def _refuse(self, request: Request, error: Exception) -> Response:
        is_away = isinstance(error, _outages())
        reason = "unavailable" if is_away else type(error).__name__
        ip = visitors.client_address(request, self._trusted)
        log.sign_in_refused("oidc", ip, reason)
        if not is_away and ip:
            self._failures.count(ip, time.monotonic())
        if is_away:
            return self._render_form(f"{self._oidc.name} does not answer. Please try again in a moment.", 502)
        text = f"The answer of {self._oidc.name} could not be accepted. Please sign in again."
        return self._render_form(text, 401)

    def _render_form(self, error: str, status: int, wait_s: float = 0) -> Response:
        headers = {"retry-after": str(max(1, round(wait_s)))} if wait_s else None
        return self._renderer.render(
            "login.html", status, headers, next="", name="", error=error, account="", out=False
        )


def _outages() -> tuple[type[Exception], ...]:
    """What is raised if the provider cannot be reached. authlib takes httpx2 where that is installed."""
    found = [
        importlib.import_module("httpx").HTTPError,
        OSError,
    ]  # 7 MB that a console without a provider does not need
    with contextlib.suppress(ImportError):
        found.append(importlib.import_module("httpx2").HTTPError)
    return tuple(found)


def _faults() -> tuple[type[Exception], ...]:
    """The exceptions that a provider's answers can cause; it may send anything."""
    authlib = importlib.import_module("authlib.common.errors")
    joserfc = importlib.import_module("joserfc.errors")
    protocol = (authlib.AuthlibBaseError, joserfc.JoseError, *_outages())
    return (ProviderError, *protocol, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
