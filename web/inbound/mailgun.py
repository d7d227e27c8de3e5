"""Mailgun's webhooks, each signed with HMAC-SHA256 over timestamp and token.

In: a JSON object.  Out: provider events. The signature does not cover the event, so each token is accepted once.
"""

import hashlib
import hmac
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from relay.event_type import EventType
from web.inbound import provider_event
from web.inbound.provider_event import BadSignatureError, ProviderClass, ProviderEvent

MAX_AGE = timedelta(hours=12)  # a webhook that failed is sent again for eight hours
_MAX_TOKEN = 100  # characters; Mailgun's have 50
# Timestamp and token are signed as one text without a separator, so the timestamp must have a known length.
_STAMP = re.compile(r"[0-9]{10}")
_TYPES = {
    "delivered": EventType.DELIVERED,
    "failed": EventType.BOUNCED,
    "rejected": EventType.BOUNCED,
    "complained": EventType.COMPLAINED,
    "unsubscribed": EventType.UNSUBSCRIBED,
}
# Mailgun's own codes (498 no MX, 605 on its list, …) are no reply of a server.
_CODE = re.compile(r"(?!49[89])[245][0-9]{2}")
# A permanent failure's code without a text: what RFC 5321 §4.2.2 has it mean.
_UNKNOWN_USER = frozenset({"550", "551", "553"})
_CLASSES = {
    "bounce": ProviderClass("user_unknown"),
    "hardfail": provider_event.PERMANENT,
    "old": ProviderClass("expired"),
    "espblock": ProviderClass("reputation"),
    "greylisted": ProviderClass("greylisted"),
}


def verify(key: str, data: object, now: datetime) -> str:
    """The token that must not be used again. Raises BadSignatureError."""
    stamp, token = provider_event.text(data, "signature", "timestamp"), provider_event.text(data, "signature", "token")
    signature = hmac.digest(key.encode(), (stamp + token).encode(), hashlib.sha256).hex()
    if not _STAMP.fullmatch(stamp) or not 0 < len(token) <= _MAX_TOKEN:
        raise BadSignatureError("no timestamp and token of Mailgun's")
    if not hmac.compare_digest(signature.encode(), provider_event.text(data, "signature", "signature").encode()):
        raise BadSignatureError("the signature is not Mailgun's")
    if abs(now - datetime.fromtimestamp(int(stamp), UTC)) > MAX_AGE:
        raise BadSignatureError("the signature is too old")
    return token


def parse_events(data: object) -> Iterator[ProviderEvent]:
    """The event of the object. Raises MalformedPayloadError."""
    event = provider_event.get(data, "event-data")
    name, why = provider_event.text(event, "event"), provider_event.text(event, "reason")
    type_ = _TYPES.get(name)
    if type_ is None:
        return
    if type_ is EventType.BOUNCED and provider_event.text(event, "severity") == "temporary":
        type_ = EventType.DEFERRED
    status = provider_event.get(event, "delivery-status")
    code, reply_text = (
        provider_event.text(status, "code"),
        provider_event.reply(status, "message") or provider_event.reply(status, "description"),
    )
    if name == "rejected":
        reply_text = (
            reply_text
            or provider_event.reply(event, "reject", "reason")
            or provider_event.reply(event, "reject", "description")
        )
    yield ProviderEvent(
        type=type_,
        id=provider_event.identifier(event, "id"),
        at=provider_event.time(event, "timestamp"),
        recipient=provider_event.identifier(event, "recipient"),
        message_id=provider_event.identifier(event, "message", "headers", "message-id"),
        status=provider_event.status(status, "enhanced-code"),
        text=f"{code} {reply_text}" if _CODE.fullmatch(code) and not reply_text.startswith(code) else reply_text,
        remote=provider_event.host(status, "mx-host") or "mailgun",
        reason=provider_event.identifier(event, "reason") or provider_event.identifier(event, "event"),
        held_by_provider=why.startswith("suppress-"),
        provider_class=_CLASSES.get(why)
        or (provider_event.PERMANENT if name == "failed" and code in _UNKNOWN_USER else None),
        may_be_hard=name == "failed",
    )
