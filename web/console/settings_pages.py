"""Settings: what is configured and from where, the API's keys, accounts, and who is signed in.

In: a session that the gate let through.  Out: one page, and what its buttons do. Secrets are not shown, but for a new
key, once. The configuration itself is changed in its file.
"""

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from relay import __version__
from relay.config import settings_list
from relay.config.schema import MIN_PASSWORD, Config
from relay.store.console import accounts, api_keys, console_sessions
from relay.store.console.audit_log import AuditedChange
from relay.store.console.roles import AccountRole
from relay.store.store import Store
from web import audited
from web.console import sign_in

_ACCOUNT_NAME = re.compile(r"[^\s\x00-\x1f\x7f](?:[^\x00-\x1f\x7f]{0,62}[^\s\x00-\x1f\x7f])?")
_KEY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LIFETIMES = {"30d": timedelta(days=30), "90d": timedelta(days=90), "1y": timedelta(days=365), "": None}
_SCOPES = (api_keys.ALL, *api_keys.SCOPES)


class SettingsPages:
    """The routes under `/settings`."""

    def __init__(self, config: Config, store: Store, page: Callable[..., Response]) -> None:
        self._tables = settings_list.list_settings(config)
        self._store = store
        self._render_page = page

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/settings", self.show_settings),
            Route("/settings/keys", self.create_key, methods=["POST"]),
            Route("/settings/keys/revoke", self.revoke_key, methods=["POST"]),
            Route("/settings/accounts", self.create_account, methods=["POST"]),
            Route("/settings/accounts/role", self.change_role, methods=["POST"]),
            Route("/settings/accounts/remove", self.remove_account, methods=["POST"]),
        ]

    async def show_settings(self, request: Request) -> Response:
        return await self._render_settings(request)

    async def create_key(self, request: Request) -> Response:
        form = await sign_in.read_checked_form(request)
        name, lifetime = str(form.get("name", "")).strip(), str(form.get("lifetime", ""))
        scopes = sorted({str(one) for one in form.getlist("scopes")}) or [api_keys.READ]
        if not set(scopes) <= set(_SCOPES) or lifetime not in _LIFETIMES:
            raise HTTPException(400)
        if not _KEY_NAME.fullmatch(name):
            request.session["notice"] = "A key’s name has letters, digits, dots, hyphens and underscores, 64 at most."
            return RedirectResponse("/settings", 303)
        now, lasts = datetime.now(UTC), _LIFETIMES[lifetime]
        made = await audited.write(
            self._store,
            request,
            AuditedChange("api_key.create", name, detail=", ".join(scopes)),
            lambda connection: api_keys.create_key(connection, name, now, scopes, now + lasts if lasts else None),
            count=lambda key: int(key is not None),
        )
        if made is None:
            request.session["notice"] = f"There is a key {name} already. Nothing was made."
            return RedirectResponse("/settings", 303)
        return await self._render_settings(request, new_key=(name, made), status=201)

    async def revoke_key(self, request: Request) -> Response:
        name = str((await sign_in.read_checked_form(request)).get("name", ""))
        was_there = await audited.write(
            self._store, request, AuditedChange("api_key.revoke", name), partial(api_keys.revoke_key, name=name)
        )
        request.session["notice"] = (
            f"The key {name} is revoked: it opens nothing any more." if was_there else "That key was gone already."
        )
        return RedirectResponse("/settings", 303)

    async def create_account(self, request: Request) -> Response:
        form = await sign_in.read_checked_form(request)
        name, password = str(form.get("name", "")).strip(), str(form.get("password", ""))
        role = _read_role(form)
        if not _ACCOUNT_NAME.fullmatch(name):
            request.session["notice"] = "An account’s name has 64 characters at most. Nothing was made."
        elif not MIN_PASSWORD <= len(password) <= sign_in.MAX_PASSWORD:
            request.session["notice"] = f"A password has {MIN_PASSWORD} characters or more. Nothing was made."
        else:
            stored, now = await asyncio.to_thread(accounts.hash_password, password), datetime.now(UTC)
            is_new = await audited.write(
                self._store,
                request,
                AuditedChange("account.create", name, detail=role),
                lambda connection: accounts.create_account(connection, name, stored, now, role),
            )
            request.session["notice"] = (
                f"The account {name} is made, with the role {role}."
                if is_new
                else f"There is an account {name} already. Nothing was made."
            )
        return RedirectResponse("/settings#accounts", 303)

    async def change_role(self, request: Request) -> Response:
        form = await sign_in.read_checked_form(request)
        name, role = str(form.get("name", "")), _read_role(form)
        if name == request.state.account:  # so that there is always an admin
            request.session["notice"] = "You cannot change your own role: another admin can."
        else:
            was_there = await audited.write(
                self._store,
                request,
                AuditedChange("account.role", name, detail=role),
                lambda connection: accounts.set_role(connection, name, role),
            )
            request.session["notice"] = f"{name} is now {role.with_article}." if was_there else "It was gone already."
        return RedirectResponse("/settings#accounts", 303)

    async def remove_account(self, request: Request) -> Response:
        name = str((await sign_in.read_checked_form(request)).get("name", ""))
        if name == request.state.account:
            request.session["notice"] = "You cannot remove the account that you use."
        else:
            was_there = await audited.write(
                self._store, request, AuditedChange("account.remove", name), partial(accounts.remove_account, name=name)
            )
            request.session["notice"] = (
                f"The account {name} is removed, and signed out everywhere." if was_there else "It was gone already."
            )
        return RedirectResponse("/settings", 303)

    async def _render_settings(
        self, request: Request, new_key: tuple[str, str] | None = None, status: int = 200
    ) -> Response:
        now = datetime.now(UTC)
        keys, names, sessions = await self._store.read(
            lambda connection: (
                api_keys.list_keys(connection),
                accounts.list_accounts(connection),
                console_sessions.list_sessions(connection, now),
            )
        )
        answer = self._render_page(
            request,
            "settings.html",
            "settings",
            tables=self._tables,
            keys=keys,
            new_key=new_key,
            scopes=_SCOPES,
            accounts=names,
            roles=list(AccountRole),
            min_password=MIN_PASSWORD,
            sessions=sessions,
            program_version=__version__,
        )
        answer.status_code = status
        return answer


def _read_role(form: FormData) -> AccountRole:
    """The role that a form names. Raises HTTPException 400."""
    try:
        return AccountRole(str(form.get("role", "")))
    except ValueError:
        raise HTTPException(400) from None
