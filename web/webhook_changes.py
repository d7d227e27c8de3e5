"""Changes of webhooks that the API and the console make in one way.

In: a request that a gate let through, and what it asks for.  Out: rows, with an entry in the audit log.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.parse import urlsplit

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from relay import public_addresses
from relay.config.schema import Config
from relay.config.webhook import WebhookConfig
from relay.store.console.audit_log import AuditedChange
from relay.store.database.webhook_tables import WebhookRow
from relay.store.store import Store
from relay.store.webhooks import endpoints
from web import audited
from web.field_errors import describe_faults

_RESOLVE_TIMEOUT_S = 2.0


class InvalidWebhookError(ValueError):
    """A webhook that cannot be added. The text names every field at fault."""


async def create_webhook(store: Store, request: Request, fields: dict[str, object], config: Config) -> WebhookRow:
    """Adds a webhook. Raises InvalidWebhookError that names every field at fault."""
    webhook = await _validate_webhook(fields, config)
    return await audited.write(
        store,
        request,
        AuditedChange("webhook.create"),
        lambda connection: endpoints.add_webhook(connection, webhook, datetime.now(UTC), endpoints.DATABASE),
        target=lambda row: row.id,
    )


async def _validate_webhook(fields: dict[str, object], config: Config) -> WebhookConfig:
    """A webhook as it may be added. Raises InvalidWebhookError that names every field at fault."""
    try:
        webhook = WebhookConfig.model_validate(fields)
    except ValidationError as error:
        raise InvalidWebhookError(describe_faults(error, WebhookConfig)) from None
    parts = urlsplit(webhook.url)
    try:
        # Each request checks the address again. This check tells the person who adds the webhook why it could not work.
        async with asyncio.timeout(_RESOLVE_TIMEOUT_S):
            await public_addresses.resolve_public(parts.hostname or "", parts.port or 443, config.webhook_networks)
    except public_addresses.NotPublicError as error:
        raise InvalidWebhookError(f"url: {error}") from None
    except (OSError, UnicodeError, TimeoutError):  # its name may be in the DNS later
        pass
    return webhook


async def replay_events_since(store: Store, request: Request, webhook: str, now: datetime, age: timedelta) -> int:
    """Queues the events of that time again; returns their number. Raises HTTPException."""
    count, after = 0, ""
    while True:
        work = partial(endpoints.replay_events, webhook=webhook, now=now, since=now - age, until=now, after=after)
        try:
            some, after = await audited.write(
                store, request, AuditedChange("webhook.replay", webhook), work, count=lambda done: done[0]
            )
        except endpoints.UnknownWebhookError:
            raise HTTPException(404, "there is no such webhook") from None
        count += some
        if not after:
            return count
