"""The request for an event: body and header fields.

In: the endpoint, the event, the time.  Out: body and header fields, signed; or None if the format has no such event.
Standard Webhooks (https://www.standardwebhooks.com) for our own format, and beside those of others.
"""

import json
from datetime import timedelta
from typing import Any, NamedTuple

from relay import __version__, webhook_format, webhook_signatures
from relay.delivery.webhooks import mailgun, postmark, sendgrid
from relay.event_type import EventType
from relay.store.views.webhook_event import WebhookEvent

_REFUSED_CODES: dict[str, int] = {
    webhook_format.POSTMARK: postmark.REFUSED_CODE,
    webhook_format.MAILGUN: mailgun.REFUSED_CODE,
}


class Endpoint(NamedTuple):
    """A webhook, with all that a request to it needs."""

    id: str
    url: str
    format: str
    machines: bool  # in formats that cannot mark them, hits of machines are sent like those of people
    secrets: tuple[str, ...]  # the newest first
    seed: bytes  # 32 octets that its ECDSA key is derived from
    retry: tuple[timedelta, ...]
    timeout: timedelta
    is_from_operator: bool = True  # else it reaches public addresses only, and its response is not kept


class WebhookRequest(NamedTuple):
    """A request's body and header fields."""

    body: bytes
    headers: dict[str, str]


def compose_request(endpoint: Endpoint, event: WebhookEvent, timestamp: int) -> WebhookRequest | None:
    """The request, signed as of that time (seconds since 1970). None: the format has no such event, or it is a hit
    of a machine and the endpoint wants none."""
    is_hit = event.type in (EventType.OPENED, EventType.CLICKED)
    if is_hit and event.verdict == "machine" and not endpoint.machines and endpoint.format != webhook_format.WAYPOST:
        return None
    payload = _payload(endpoint, event, timestamp)
    if payload is None:
        return None
    body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    headers = {"content-type": "application/json", "user-agent": f"Waypost/{__version__}"}
    if endpoint.secrets:
        headers |= {
            "webhook-id": event.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": webhook_signatures.standard_webhooks_signature(
                endpoint.secrets, event.id, timestamp, body
            ),
        }
    if endpoint.format == webhook_format.SENDGRID:
        signed = webhook_signatures.sendgrid_signature(
            webhook_signatures.derive_private_key(endpoint.seed), str(timestamp), body
        )
        headers |= {
            "X-Twilio-Email-Event-Webhook-Signature": signed,
            "X-Twilio-Email-Event-Webhook-Timestamp": str(timestamp),
        }
    return WebhookRequest(body, headers)


def is_permanent_refusal(format_: str, code: int) -> bool:
    """True if that code means: do not send this event again."""
    return _REFUSED_CODES.get(format_) == code


def _payload(endpoint: Endpoint, event: WebhookEvent, timestamp: int) -> Any:  # Any: JSON
    match endpoint.format:
        case webhook_format.POSTMARK:
            return postmark.payload(event)
        case webhook_format.SENDGRID:
            return sendgrid.payload(event)
        case webhook_format.MAILGUN:
            return mailgun.payload(event, endpoint.secrets[0], timestamp)
    return event.event_object
