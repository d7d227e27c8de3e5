"""Events as Postmark's webhooks tell them: one JSON object, told apart by `RecordType`.

Postmark has no word for accepted mail, nor for mail that is not sent because its address is suppressed: those are
not told. https://postmarkapp.com/developer/webhooks/webhooks-overview
"""

from typing import Any

from relay import ids
from relay.delivery.webhooks import smtp_reply
from relay.delivery.webhooks.smtp_reply import FailureClass
from relay.event_type import EventType
from relay.store.views import json_objects
from relay.store.views.webhook_event import WebhookEvent

REFUSED_CODE = 403  # its receivers answer this to what they never want again

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


def payload(occasion: WebhookEvent) -> dict[str, Any] | None:  # Any: JSON
    """The object; None for what Postmark would not tell."""
    at = json_objects.format_time(occasion.at)
    about = {
        "MessageID": occasion.message,
        "MessageStream": occasion.stream or "outbound",
        "ServerID": 0,
        "Tag": occasion.tags[0] if occasion.tags else "",
        "Metadata": dict(occasion.meta),
    }
    who = {"Recipient": occasion.recipients[0] if occasion.recipients else ""}
    match occasion.type:
        case EventType.DELIVERED:
            return {"RecordType": "Delivery"} | about | who | {"DeliveredAt": at, "Details": occasion.detail}
        case EventType.BOUNCED:
            return _bounce(occasion, _TYPES[smtp_reply.failure_class(occasion)]) | about
        case EventType.EXPIRED:
            return _bounce(occasion, "SoftBounce") | about
        case EventType.DEFERRED:
            return _bounce(occasion, "Transient") | about
        case EventType.COMPLAINED:
            return _bounce(occasion, "SpamComplaint") | about | {"RecordType": "SpamComplaint"}
        case EventType.OPENED:
            seen = {"RecordType": "Open", "FirstOpen": occasion.is_first, "ReceivedAt": at, "ReadSeconds": 0}
            return seen | about | who | _visitor(occasion)
        case EventType.CLICKED:
            seen = {"RecordType": "Click", "ClickLocation": "HTML", "ReceivedAt": at, "OriginalLink": occasion.url}
            return seen | about | who | _visitor(occasion)
        case EventType.UNSUBSCRIBED | EventType.RESUBSCRIBED:
            leaves = occasion.type is EventType.UNSUBSCRIBED
            change = {"ChangedAt": at, "Origin": "Recipient", "SuppressSending": leaves}
            reason = {"SuppressionReason": "ManualSuppression" if leaves else None}
            return {"RecordType": "SubscriptionChange"} | about | who | change | reason
    return None


def _bounce(occasion: WebhookEvent, type_: str) -> dict[str, Any]:  # Any: JSON
    code, name, description = _BOUNCES[type_]
    return {
        "RecordType": "Bounce",
        "ID": int.from_bytes(ids.to_octets(occasion.id)[:8], "big") >> 1,  # of 63 bits, as theirs
        "Type": type_,
        "TypeCode": code,
        "Name": name,
        "Description": description,
        "Details": occasion.detail,
        "Email": occasion.recipients[0] if occasion.recipients else "",
        "From": occasion.reverse_path,
        "BouncedAt": json_objects.format_time(occasion.at),
        "Inactive": type_ in ("HardBounce", "SpamComplaint"),
        "DumpAvailable": False,
        "CanActivate": type_ != "SpamComplaint",
        "Subject": occasion.subject,
        "Content": "",
    }


def _visitor(occasion: WebhookEvent) -> dict[str, Any]:  # Any: JSON
    """Places and programs are not looked up: their fields are there and empty."""
    place = dict.fromkeys(("CountryISOCode", "Country", "RegionISOCode", "Region", "City", "Zip", "Coords"), "")
    return {
        "UserAgent": occasion.user_agent,
        "Platform": "Unknown",
        "Client": _NO_CLIENT,
        "OS": _NO_CLIENT,
        "Geo": place | {"IP": occasion.ip},
    }
