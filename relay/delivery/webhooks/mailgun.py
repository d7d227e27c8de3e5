"""Events as Mailgun's webhooks tell them: `{"signature": …, "event-data": …}`, signed within the body.

https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/webhook-payloads
"""

import hashlib
from typing import Any

from relay import address, webhook_signatures
from relay.delivery.webhooks import smtp_reply
from relay.delivery.webhooks.smtp_reply import FailureClass
from relay.event_type import EventType
from relay.store.views.webhook_event import WebhookEvent

REFUSED_CODE = 406  # its receivers answer this to what they never want again

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


def payload(occasion: WebhookEvent, secret: str, timestamp: int) -> dict[str, Any] | None:  # Any: JSON
    """The object, signed as of that time (seconds since 1970); None for what Mailgun has no word for, and what is
    of nobody or of several at once."""
    if len(occasion.recipients) != 1 or occasion.type not in _NAMES:
        return None
    token = hashlib.sha256(f"{occasion.id} {timestamp}".encode()).hexdigest()[:_TOKEN_CHARACTERS]
    signature = webhook_signatures.mailgun_signature(secret, str(timestamp), token)
    return {
        "signature": {"timestamp": str(timestamp), "token": token, "signature": signature},
        "event-data": _data(occasion, occasion.recipients[0]),
    }


def _data(occasion: WebhookEvent, who: str) -> dict[str, Any]:  # Any: JSON
    failed = _NAMES[occasion.type] == "failed"
    data: dict[str, Any] = {  # Any: JSON
        "id": occasion.id,
        "event": _NAMES[occasion.type],
        "timestamp": occasion.at.timestamp(),
        "log-level": _LEVELS.get(occasion.type, "error" if failed else "info"),
        "recipient": who,
        "recipient-domain": address.domain(who),
        "tags": list(occasion.tags),
        "campaigns": [],
        "user-variables": dict(occasion.meta),
        "flags": {"is-routed": False, "is-authenticated": True, "is-system-test": False, "is-test-mode": False},
        "envelope": {"sender": occasion.reverse_path, "targets": who, "transport": "smtp"},
        "message": {
            "headers": {
                "message-id": occasion.message_id,
                "from": occasion.author,
                "to": who,
                "subject": occasion.subject,
            },
            "attachments": [],
            "size": occasion.size_octets,
        },
    }
    if occasion.type in _HITS:
        data["ip"] = occasion.ip
        data["geolocation"] = {"country": "", "region": "", "city": ""}
        data["client-info"] = {"user-agent": occasion.user_agent} | dict.fromkeys(
            ("client-name", "client-os", "client-type", "device-type"), "unknown"
        )
        if occasion.type is EventType.CLICKED:
            data["url"] = occasion.url
    elif failed or occasion.type is EventType.DELIVERED:
        reply = smtp_reply.split_reply(occasion)
        data["delivery-status"] = {
            "attempt-no": max(occasion.attempt, 1),
            "code": reply.code,
            "message": reply.text,
            "description": occasion.category.replace("_", " "),
            "enhanced-code": reply.status,
        }
    if failed:
        data["severity"] = "temporary" if occasion.type is EventType.DEFERRED else "permanent"
        data["reason"] = _reason(occasion)
    return data


def _reason(occasion: WebhookEvent) -> str:
    match occasion.type:
        case EventType.EXPIRED:
            return "old"
        case EventType.SUPPRESSED:
            return _SUPPRESSION_REASONS.get(occasion.detail, "suppress-bounce")
        case EventType.BOUNCED if smtp_reply.failure_class(occasion) is FailureClass.HARD:
            return "bounce"
    return "generic"
