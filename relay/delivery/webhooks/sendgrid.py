"""Events as SendGrid's event webhook tells them: a JSON array of flat objects, with the metadata among their keys.

https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
"""

from typing import Any

from relay.delivery.webhooks import smtp_reply
from relay.delivery.webhooks.smtp_reply import FailureClass
from relay.event_type import EventType
from relay.store.views.webhook_event import WebhookEvent

_NAMES = {
    EventType.ACCEPTED: "processed",
    EventType.DELIVERED: "delivered",
    EventType.DEFERRED: "deferred",
    EventType.BOUNCED: "bounce",
    EventType.EXPIRED: "dropped",
    EventType.SUPPRESSED: "dropped",
    EventType.OPENED: "open",
    EventType.CLICKED: "click",
    EventType.UNSUBSCRIBED: "unsubscribe",
    EventType.RESUBSCRIBED: "group_resubscribe",
    EventType.COMPLAINED: "spamreport",
}
_CLASSES = {
    "user_unknown": "Invalid Address",
    "domain_unknown": "Invalid Address",
    "moved": "Invalid Address",
    "mailbox_full": "Mailbox Unavailable",
    "mailbox_disabled": "Mailbox Unavailable",
    "spam": "Content",
    "content": "Content",
    "too_large": "Content",
    "reputation": "Reputation",
    "policy": "Reputation",
    "authentication": "Reputation",
    "sender_rejected": "Reputation",
    "rate_limited": "Frequency or Volume Too High",
    "greylisted": "Frequency or Volume Too High",
    "protocol": "Technical Failure",
    "system": "Technical Failure",
    "loop": "Technical Failure",
}
_DROPPED = {
    "hard_bounce": "Bounced Address",
    "unsubscribe": "Unsubscribed Address",
    "complaint": "Spam Reporting Address",
}


def payload(occasion: WebhookEvent) -> list[dict[str, Any]] | None:  # Any: JSON
    """The array; None where no recipient is known, whom each of its objects names."""
    objects = [
        dict(occasion.meta)
        | {
            "email": who,
            "timestamp": int(occasion.at.timestamp()),
            "smtp-id": f"<{occasion.message_id}>",
            "event": _NAMES[occasion.type],
            "category": list(occasion.tags),
            "sg_event_id": occasion.id if len(occasion.recipients) == 1 else f"{occasion.id}.{n}",
            "sg_message_id": occasion.message,
        }
        | _fields_of_type(occasion)
        for n, who in enumerate(occasion.recipients)
    ]
    return objects or None


def _fields_of_type(occasion: WebhookEvent) -> dict[str, Any]:  # Any: JSON
    """What this sort of event says beside the rest."""
    reply = smtp_reply.split_reply(occasion)
    match occasion.type:
        case EventType.DELIVERED:
            return {"response": occasion.detail}
        case EventType.DEFERRED:
            return {"response": occasion.detail, "attempt": str(occasion.attempt), "status": reply.status}
        case EventType.BOUNCED:
            type_ = "blocked" if smtp_reply.failure_class(occasion) is FailureClass.BLOCK else "bounce"
            class_ = _CLASSES.get(occasion.category, "Unclassified")
            return {"reason": occasion.detail, "status": reply.status, "type": type_, "bounce_classification": class_}
        case EventType.EXPIRED:
            return {"reason": "Expired", "status": reply.status, "response": occasion.detail}
        case EventType.SUPPRESSED:
            return {"reason": _DROPPED.get(occasion.detail, "Suppressed Address")}
        case EventType.OPENED:
            return _visitor(occasion) | ({"sg_machine_open": True} if occasion.verdict == "machine" else {})
        case EventType.CLICKED:
            return _visitor(occasion) | {"url": occasion.url}
    return {}


def _visitor(occasion: WebhookEvent) -> dict[str, str]:
    return {"useragent": occasion.user_agent, "ip": occasion.ip}
