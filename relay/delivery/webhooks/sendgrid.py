"""Events in the format of SendGrid's event webhook: a JSON array of flat objects, with the metadata among their keys.

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


def payload(event: WebhookEvent) -> list[dict[str, Any]] | None:  # Any: JSON
    """The array; None if no recipient is known: each of its objects names one."""
    objects = [
        dict(event.meta)
        | {
            "email": who,
            "timestamp": int(event.at.timestamp()),
            "smtp-id": f"<{event.message_id}>",
            "event": _NAMES[event.type],
            "category": list(event.tags),
            "sg_event_id": event.id if len(event.recipients) == 1 else f"{event.id}.{n}",
            "sg_message_id": event.message,
        }
        | _fields_of_type(event)
        for n, who in enumerate(event.recipients)
    ]
    return objects or None


def _fields_of_type(event: WebhookEvent) -> dict[str, Any]:  # Any: JSON
    """The fields of this type of event."""
    reply = smtp_reply.split_reply(event)
    match event.type:
        case EventType.DELIVERED:
            return {"response": event.detail}
        case EventType.DEFERRED:
            return {"response": event.detail, "attempt": str(event.attempt), "status": reply.status}
        case EventType.BOUNCED:
            type_ = "blocked" if smtp_reply.failure_class(event) is FailureClass.BLOCK else "bounce"
            class_ = _CLASSES.get(event.category, "Unclassified")
            return {"reason": event.detail, "status": reply.status, "type": type_, "bounce_classification": class_}
        case EventType.EXPIRED:
            return {"reason": "Expired", "status": reply.status, "response": event.detail}
        case EventType.SUPPRESSED:
            return {"reason": _DROPPED.get(event.detail, "Suppressed Address")}
        case EventType.OPENED:
            return _visitor(event) | ({"sg_machine_open": True} if event.verdict == "machine" else {})
        case EventType.CLICKED:
            return _visitor(event) | {"url": event.url}
    return {}


def _visitor(event: WebhookEvent) -> dict[str, str]:
    return {"useragent": event.user_agent, "ip": event.ip}
