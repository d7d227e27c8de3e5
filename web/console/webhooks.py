"""Webhooks, as operators add and watch them.

In: a session that the gate let through.  Out: the list with a form, and one webhook with its state, its requests and
their answers, and what can be done about them. A secret is shown once, when it is made.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from relay import tokens, webhook_format
from relay.config.schema import Config
from relay.event_type import EventType
from relay.store.console.audit_log import AuditedChange
from relay.store.store import Store
from relay.store.views import webhook_objects
from relay.store.webhooks import endpoints
from web import audited, webhook_changes
from web.console import page_filters, sign_in
from web.webhook_changes import InvalidWebhookError

_PAGE_ROWS = 50
_REPLAY_SPANS = {"1h": timedelta(hours=1), "24h": timedelta(hours=24), "7d": timedelta(days=7)}


class WebhookPages:
    """The routes under `/webhooks`."""

    def __init__(self, config: Config, store: Store, ring: tokens.KeyRing, page: Callable[..., Response]) -> None:
        self._config = config
        self._store = store
        self._ring = ring
        self._render_page = page

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/webhooks", self.list_webhooks),
            Route("/webhooks", self.create_webhook, methods=["POST"]),
            Route("/webhooks/{webhook}", self.show_webhook),
            Route("/webhooks/{webhook}", self.change_webhook, methods=["POST"]),
            Route("/webhooks/{webhook}/send", self.send_events, methods=["POST"]),
        ]

    async def list_webhooks(self, request: Request) -> Response:
        found = await self._store.read(endpoints.list_webhook_status)
        return self._render_page(
            request,
            "webhooks.html",
            "webhooks",
            standings=found,
            types=list(EventType),
            format_titles=webhook_format.TITLES,
            shown=endpoints.without_password,
        )

    async def create_webhook(self, request: Request) -> Response:
        form = await sign_in.read_checked_form(request)
        given = {
            "url": str(form.get("url", "")),
            "format": str(form.get("format", webhook_format.WAYPOST)),
            "secret": str(form.get("secret", "")).strip(),
            "events": [str(one) for one in form.getlist("events")] or ["*"],
            "machines": "machines" in form,
        }
        try:
            made = await webhook_changes.create_webhook(self._store, request, given, self._config)
        except InvalidWebhookError as fault:
            request.session["notice"] = f"Nothing was added: {fault}."
            return RedirectResponse("/webhooks", 303)
        return await self._render_webhook(request, made.id, secret=made.secret, status=201)

    async def show_webhook(self, request: Request) -> Response:
        return await self._render_webhook(request, request.path_params["webhook"])

    async def change_webhook(self, request: Request) -> Response:
        webhook, form = request.path_params["webhook"], await sign_in.read_checked_form(request)
        try:
            if form.get("do") == "rotate":
                secret = await audited.write(
                    self._store,
                    request,
                    AuditedChange("webhook.rotate", webhook),
                    lambda connection: endpoints.rotate_secret(connection, webhook, datetime.now(UTC)),
                )
                return await self._render_webhook(request, webhook, secret=secret)
            request.session["notice"] = await self._apply_action(request, webhook, form)
        except endpoints.UnknownWebhookError:
            raise HTTPException(404) from None
        except ValueError as error:
            request.session["notice"] = f"Nothing was changed: {error}."
        return RedirectResponse("/webhooks" if form.get("do") == "remove" else f"/webhooks/{webhook}", 303)

    async def _apply_action(self, request: Request, webhook: str, form: FormData) -> str:
        """Does what a button asks for. Returns a sentence for the operator. Raises endpoints.UnknownWebhookError,
        ValueError."""
        now = datetime.now(UTC)
        match form.get("do"):
            case "enable":
                waiting = await audited.write(
                    self._store,
                    request,
                    AuditedChange("webhook.enable", webhook),
                    lambda connection: endpoints.enable_webhook(connection, webhook, now),
                    count=lambda _: 1,
                )
                return f"Events are sent again, beginning with {waiting} that still waited."
            case "disable":
                await audited.write(
                    self._store,
                    request,
                    AuditedChange("webhook.disable", webhook),
                    lambda connection: endpoints.disable_webhook(connection, webhook),
                )
                return "Nothing is sent to it until it is enabled."
            case "remove":
                await audited.write(
                    self._store,
                    request,
                    AuditedChange("webhook.remove", webhook),
                    lambda connection: endpoints.remove_webhook(connection, webhook),
                )
                return "The webhook and its log are gone."
        raise HTTPException(400)

    async def send_events(self, request: Request) -> Response:
        webhook, form = request.path_params["webhook"], await sign_in.read_checked_form(request)
        try:
            request.session["notice"] = await self._send_events(request, webhook, form)
        except endpoints.UnknownWebhookError:
            raise HTTPException(404) from None
        return RedirectResponse(f"/webhooks/{webhook}", 303)

    async def _send_events(self, request: Request, webhook: str, form: FormData) -> str:
        """Queues events as a button asks for. Returns a sentence for the operator. Raises
        endpoints.UnknownWebhookError."""
        now, replay = datetime.now(UTC), AuditedChange("webhook.replay", webhook)

        def send_again(connection: sa.Connection) -> bool:
            return endpoints.replay_event(connection, webhook, str(form.get("event", "")), now)

        def send_latest(connection: sa.Connection) -> bool:
            latest = endpoints.find_latest_event(connection, webhook)
            return bool(latest) and endpoints.replay_event(connection, webhook, latest, now)

        match form.get("do"):
            case "again":
                is_sent = await audited.write(self._store, request, replay, send_again)
                return "The event is sent again." if is_sent else "That event has expired."
            case "latest":
                if await audited.write(self._store, request, replay, send_latest):
                    return "The latest event that it wants is sent again. The answer appears here within seconds."
                return (
                    f"No event that it wants has happened yet. waypost webhooks test {webhook}   sends a made-up one."
                )
            case "replay":
                span = _REPLAY_SPANS.get(str(form.get("since")), _REPLAY_SPANS["1h"])
                count = await webhook_changes.replay_events_since(self._store, request, webhook, now, span)
                return f"{count} events are sent again."
        raise HTTPException(400)

    async def _render_webhook(self, request: Request, webhook: str, *, secret: str = "", status: int = 200) -> Response:
        before, failed = request.query_params.get("before", ""), "failed" in request.query_params
        found, log = await self._store.read(
            lambda connection: (
                endpoints.list_webhook_status(connection, [webhook]),
                endpoints.list_webhook_log(connection, webhook, _PAGE_ROWS + 1, before, only_failed=failed),
            )
        )
        if not found:
            raise HTTPException(404)
        shown, row = log[:_PAGE_ROWS], found[0].webhook
        path, kept = f"/webhooks/{webhook}", {"failed": "1"} if failed else {}
        older = page_filters.page_url(path, kept | {"before": shown[-1].id}) if len(log) > _PAGE_ROWS else ""
        answer = self._render_page(
            request,
            "webhook.html",
            "webhooks",
            standing=found[0],
            hook=row,
            url=endpoints.without_password(row.url),
            secret=secret,
            public_key=webhook_objects.public_key(row.id, self._ring) if row.format == webhook_format.SENDGRID else "",
            log=shown,
            failed=failed,
            older=older,
            newest=page_filters.page_url(path, kept),
            is_later_page=bool(before),
        )
        answer.status_code = status
        return answer
