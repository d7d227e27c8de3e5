"""Events in the format of Mailgun's webhooks: `{"signature": …, "event-data": …}`, signed within the body.

https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/webhook-payloads
"""

import hashlib
from typing import Any

from relay import address, webhook_signatures
from relay.delivery.webhooks import smtp_reply
from relay.delivery.webhooks.smtp_reply import FailureClass
from relay.event_type import EventType
from relay.store.views.webhook_event import WebhookEvent

REFUSED_CODE = 406  # receivers answer this to events that they do not want again

_NAMES = {
    EventType.ACCEPTED: "accepted",
    EventType.DELIVERED: "delivered",
    EventType.DEFERRED: "failed",
    EventType.BOUNCED: "failed",
    EventType.EXPIRED: "failed",
    EventType.SUPPRESSED: "failed",
    EventType.OPENED: "opened",
    EventType.CLICKED: "clicked",
    EventType.UNSUBSCRIBED: "unsubscribed",
    EventType.COMPLAINED: "complained",
}
_LEVELS = {EventType.DEFERRED: "warn", EventType.COMPLAINED: "warn"}
_SUPPRESSION_REASONS = {
    "hard_bounce": "suppress-bounce",
    "unsubscribe": "suppress-unsubscribe",
    "complaint": "suppress-complaint",
}
_HITS = (EventType.OPENED, EventType.CLICKED, EventType.UNSUBSCRIBED)
_TOKEN_CHARACTERS = 50  # characters


def payload(event: WebhookEvent, secret: str, timestamp: int) -> dict[str, Any] | None:  # Any: JSON
    """The object, signed as of that time (seconds since 1970). None for an event that Mailgun does not have, and for
    an event without exactly one recipient."""
    if len(event.recipients) != 1 or event.type not in _NAMES:
        return None
    token = hashlib.sha256(f"{event.id} {timestamp}".encode()).hexdigest()[:_TOKEN_CHARACTERS]
    signature = webhook_signatures.mailgun_signature(secret, str(timestamp), token)
    return {
        "signature": {"timestamp": str(timestamp), "token": token, "signature": signature},
        "event-data": _data(event, event.recipients[0]),
    }


def _data(event: WebhookEvent, recipient: str) -> dict[str, Any]:  # Any: JSON
    failed = _NAMES[event.type] == "failed"
    data: dict[str, Any] = {  # Any: JSON
        "id": event.id,
        "event": _NAMES[event.type],
        "timestamp": event.at.timestamp(),
        "log-level": _LEVELS.get(event.type, "error" if failed else "info"),
        "recipient": recipient,
        "recipient-domain": address.domain(recipient),
        "tags": list(event.tags),
        "campaigns": [],
        "user-variables": dict(event.meta),
        "flags": {"is-routed": False, "is-authenticated": True, "is-system-test": False, "is-test-mode": False},
        "envelope": {"sender": event.reverse_path, "targets": recipient, "transport": "smtp"},
        "message": {
            "headers": {
                "message-id": event.message_id,
                "from": event.author,
                "to": recipient,
                "subject": event.subject,
            },
            "attachments": [],
            "size": event.size_octets,
        },
    }
    if event.type in _HITS:
        data["ip"] = event.ip
        data["geolocation"] = {"country": "", "region": "", "city": ""}
        data["client-info"] = {"user-agent": event.user_agent} | dict.fromkeys(
            ("client-name", "client-os", "client-type", "device-type"), "unknown"
        )
        if event.type is EventType.CLICKED:
            data["url"] = event.url
    elif failed or event.type is EventType.DELIVERED:
        reply = smtp_reply.split_reply(event)
        data["delivery-status"] = {
            "attempt-no": max(event.attempt, 1),
            "code": reply.code,
            "message": reply.text,
            "description": event.category.replace("_", " "),
            "enhanced-code": reply.status,
        }
    if failed:
        data["severity"] = "temporary" if event.type is EventType.DEFERRED else "permanent"
        data["reason"] = _reason(event)
    return data


def _reason(event: WebhookEvent) -> str:
    match event.type:
        case EventType.EXPIRED:
            return "old"
        case EventType.SUPPRESSED:
            return _SUPPRESSION_REASONS.get(event.detail, "suppress-bounce")
        case EventType.BOUNCED if smtp_reply.failure_class(event) is FailureClass.HARD:
            return "bounce"
    return "generic"
