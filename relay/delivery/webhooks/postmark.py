"""Events in the format of Postmark's webhooks: one JSON object, told apart by `RecordType`.

Postmark has no event for accepted mail, nor for mail that is not sent because its address is suppressed: these are
not sent. https://postmarkapp.com/developer/webhooks/webhooks-overview
"""

from typing import Any

from relay import ids
from relay.delivery.webhooks import smtp_reply
from relay.delivery.webhooks.smtp_reply import FailureClass
from relay.event_type import EventType
from relay.store.views import json_objects
from relay.store.views.webhook_event import WebhookEvent

REFUSED_CODE = 403  # receivers answer this to events that they do not want again

_NO_CLIENT = {"Name": "", "Company": "", "Family": ""}
# Type: code, name, description.
_BOUNCES = {
    "HardBounce": (1, "Hard bounce", "The address does not exist, or takes mail no more."),
    "Transient": (2, "Message delayed", "The message is not delivered yet; it is tried again."),
    "SoftBounce": (4096, "Soft bounce", "The mailbox takes no mail now, and the message is given up."),
    "SpamComplaint": (100001, "Spam complaint", "The recipient marked this message as spam."),
    "Blocked": (100006, "ISP block", "Blocked by the receiving side for its content, its sender or its source."),
}
_TYPES = {FailureClass.HARD: "HardBounce", FailureClass.SOFT: "SoftBounce", FailureClass.BLOCK: "Blocked"}


def payload(event: WebhookEvent) -> dict[str, Any] | None:  # Any: JSON
    """The object; None for an event that Postmark does not have."""
    at = json_objects.format_time(event.at)
    about = {
        "MessageID": event.message,
        "MessageStream": event.stream or "outbound",
        "ServerID": 0,
        "Tag": event.tags[0] if event.tags else "",
        "Metadata": dict(event.meta),
    }
    who = {"Recipient": event.recipients[0] if event.recipients else ""}
    match event.type:
        case EventType.DELIVERED:
            return {"RecordType": "Delivery"} | about | who | {"DeliveredAt": at, "Details": event.detail}
        case EventType.BOUNCED:
            return _bounce(event, _TYPES[smtp_reply.failure_class(event)]) | about
        case EventType.EXPIRED:
            return _bounce(event, "SoftBounce") | about
        case EventType.DEFERRED:
            return _bounce(event, "Transient") | about
        case EventType.COMPLAINED:
            return _bounce(event, "SpamComplaint") | about | {"RecordType": "SpamComplaint"}
        case EventType.OPENED:
            seen = {"RecordType": "Open", "FirstOpen": event.is_first, "ReceivedAt": at, "ReadSeconds": 0}
            return seen | about | who | _visitor(event)
        case EventType.CLICKED:
            seen = {"RecordType": "Click", "ClickLocation": "HTML", "ReceivedAt": at, "OriginalLink": event.url}
            return seen | about | who | _visitor(event)
        case EventType.UNSUBSCRIBED | EventType.RESUBSCRIBED:
            leaves = event.type is EventType.UNSUBSCRIBED
            change = {"ChangedAt": at, "Origin": "Recipient", "SuppressSending": leaves}
            reason = {"SuppressionReason": "ManualSuppression" if leaves else None}
            return {"RecordType": "SubscriptionChange"} | about | who | change | reason
    return None


def _bounce(event: WebhookEvent, type_: str) -> dict[str, Any]:  # Any: JSON
    code, name, description = _BOUNCES[type_]
    return {
        "RecordType": "Bounce",
        "ID": int.from_bytes(ids.to_octets(event.id)[:8], "big") >> 1,  # 63 bits, as Postmark's ids
        "Type": type_,
        "TypeCode": code,
        "Name": name,
        "Description": description,
        "Details": event.detail,
        "Email": event.recipients[0] if event.recipients else "",
        "From": event.reverse_path,
        "BouncedAt": json_objects.format_time(event.at),
        "Inactive": type_ in ("HardBounce", "SpamComplaint"),
        "DumpAvailable": False,
        "CanActivate": type_ != "SpamComplaint",
        "Subject": event.subject,
        "Content": "",
    }


def _visitor(event: WebhookEvent) -> dict[str, Any]:  # Any: JSON
    """The fields for place and program. They are empty, because we do not look these up."""
    place = dict.fromkeys(("CountryISOCode", "Country", "RegionISOCode", "Region", "City", "Zip", "Coords"), "")
    return {
        "UserAgent": event.user_agent,
        "Platform": "Unknown",
        "Client": _NO_CLIENT,
        "OS": _NO_CLIENT,
        "Geo": place | {"IP": event.ip},
    }
