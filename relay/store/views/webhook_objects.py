"""Webhooks and their logs as the JSON objects of the API and the command line, without secrets."""

from relay import webhook_format, webhook_signatures
from relay.store.database.webhook_tables import WebhookLogRow
from relay.store.views.json_objects import JsonObject, format_time
from relay.store.webhooks.endpoints import WebhookStatus, without_password
from relay.tokens import KeyRing


def webhook_object(one: WebhookStatus, ring: KeyRing) -> JsonObject:
    """An endpoint and its state. `public_key`: receivers of SendGrid's format verify signatures with it."""
    row = one.webhook
    return {
        "id": row.id,
        "url": without_password(row.url),
        "format": row.format,
        "events": row.events,
        "machines": row.machines,
        "source": row.source,
        "state": row.state,
        "reason": row.reason or None,
        "created_at": format_time(row.created_at),
        "failing_since": format_time(row.failing_since),
        "waiting": one.waiting,
        "last": {"at": format_time(one.last_at), "code": one.last_code, "error": one.last_error or None}
        if one.last_at
        else None,
        "public_key": public_key(row.id, ring) if row.format == webhook_format.SENDGRID else None,
    }


def public_key(webhook_id: str, ring: KeyRing) -> str:
    """In base64, as SendGrid shows it."""
    return webhook_signatures.format_public_key(
        webhook_signatures.derive_private_key(ring.derive_secret(webhook_signatures.key_purpose(webhook_id)))
    )


def webhook_log_object(one: WebhookLogRow) -> JsonObject:
    """A request and its answer. Code 0: there was no answer. `next_attempt_at` is null if it was accepted or given
    up."""
    return {
        "id": one.id,
        "event": one.event,
        "type": one.type,
        "message": one.message,
        "at": format_time(one.at),
        "attempt": one.attempt,
        "code": one.code,
        "error": one.error or None,
        "ms": one.took_ms,
        "next_attempt_at": format_time(one.next_attempt_at),
        "request": {"headers": one.headers, "body": one.request},
        "response": one.response,
    }
