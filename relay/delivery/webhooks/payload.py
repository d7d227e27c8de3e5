"""The request that tells a webhook of an event.

In: the endpoint, the occasion, the time.  Out: body and header fields, signed; or nothing, where there is nothing to
tell. Standard Webhooks (https://www.standardwebhooks.com) for our own format, and beside those of others.
"""

import json
from datetime import timedelta
from typing import Any, NamedTuple

from relay import __version__, webhook_signatures
from relay.delivery.webhooks import mailgun, postmark, sendgrid
from relay.event_type import EventType
from relay.store.views.webhook_event import WebhookEvent

WAYPOST, POSTMARK, SENDGRID, MAILGUN = "waypost", "postmark", "sendgrid", "mailgun"
FORMATS = (WAYPOST, POSTMARK, SENDGRID, MAILGUN)
_REFUSED_CODES = {POSTMARK: postmark.REFUSED_CODE, MAILGUN: mailgun.REFUSED_CODE}


class Endpoint(NamedTuple):
    """A webhook, with all that a request to it needs."""

    id: str
    url: str
    format: str
    machines: bool  # in the formats of others, which cannot say so: hits of machines are told like those of people
    secrets: tuple[str, ...]  # the newest first
    seed: bytes  # 32 octets that its ECDSA key is derived from
    retry: tuple[timedelta, ...]
    timeout: timedelta
    is_from_operator: bool = True  # else it reaches public addresses only, and what it answers is not kept


class WebhookRequest(NamedTuple):
    """A request's body and header fields."""

    body: bytes
    headers: dict[str, str]


def compose_request(endpoint: Endpoint, occasion: WebhookEvent, timestamp: int) -> WebhookRequest | None:
    """The request, signed as of that time (seconds since 1970). None: the format has no word for it, or it is a
    machine's hit and the endpoint wants none."""
    is_hit = occasion.type in (EventType.OPENED, EventType.CLICKED)
    if is_hit and occasion.verdict == "machine" and not endpoint.machines and endpoint.format != WAYPOST:
        return None
    payload = _payload(endpoint, occasion, timestamp)
    if payload is None:
        return None
    body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    headers = {"content-type": "application/json", "user-agent": f"Waypost/{__version__}"}
    if endpoint.secrets:
        headers |= {
            "webhook-id": occasion.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": webhook_signatures.standard_webhooks_signature(
                endpoint.secrets, occasion.id, timestamp, body
            ),
        }
    if endpoint.format == SENDGRID:
        signed = webhook_signatures.sendgrid_signature(
            webhook_signatures.derive_private_key(endpoint.seed), str(timestamp), body
        )
        headers |= {
            "X-Twilio-Email-Event-Webhook-Signature": signed,
            "X-Twilio-Email-Event-Webhook-Timestamp": str(timestamp),
        }
    return WebhookRequest(body, headers)


def is_permanent_refusal(format_: str, code: int) -> bool:
    """True if that answer means: do not tell me this again."""
    return _REFUSED_CODES.get(format_) == code


def _payload(endpoint: Endpoint, occasion: WebhookEvent, timestamp: int) -> Any:  # Any: JSON
    match endpoint.format:
        case "postmark":
            return postmark.payload(occasion)
        case "sendgrid":
            return sendgrid.payload(occasion)
        case "mailgun":
            return mailgun.payload(occasion, endpoint.secrets[0], timestamp)
    return occasion.event_object
