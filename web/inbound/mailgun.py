"""Mailgun's webhooks, each signed with HMAC-SHA256 over timestamp and token.

In: a JSON object.  Out: Words. The signature does not cover the event itself, so that a token counts once.
"""

import hashlib
import hmac
from collections.abc import Iterator
from datetime import datetime, timedelta

from relay.store.tables import EventType
from web.inbound import word
from web.inbound.word import Forged, Word

WINDOW = timedelta(hours=12)  # a webhook that failed is sent again for eight hours
_TYPES = {
    "delivered": EventType.DELIVERED,
    "failed": EventType.BOUNCED,
    "rejected": EventType.BOUNCED,
    "complained": EventType.COMPLAINED,
    "unsubscribed": EventType.UNSUBSCRIBED,
}


def verify(key: str, data: object, now: datetime) -> str:
    """The token that must not be used again. Raises Forged, Malformed."""
    stamp, token = word.text(data, "signature", "timestamp"), word.text(data, "signature", "token")
    signature = hmac.digest(key.encode(), (stamp + token).encode(), hashlib.sha256).hex()
    if not token or not hmac.compare_digest(signature.encode(), word.text(data, "signature", "signature").encode()):
        raise Forged("the signature is not Mailgun's")
    if abs(now - word.time(data, "signature", "timestamp")) > WINDOW:
        raise Forged("the signature is too old")
    return token[:100]


def words(data: object) -> Iterator[Word]:
    """What it says. Raises Malformed."""
    event = word.at(data, "event-data")
    type_ = _TYPES.get(word.text(event, "event"))
    if type_ is None:
        return
    if type_ is EventType.BOUNCED and word.text(event, "severity") == "temporary":
        type_ = EventType.DEFERRED
    status = word.at(event, "delivery-status")
    code, said = word.text(status, "code"), word.text(status, "message") or word.text(status, "description")
    yield Word(
        type=type_,
        id=word.name(event, "id"),
        at=word.time(event, "timestamp"),
        recipient=word.name(event, "recipient"),
        message_id=word.name(event, "message", "headers", "message-id"),
        status=word.name(status, "enhanced-code"),
        # Codes of Mailgun's own (605, 607 …) tell of its lists, not of a reply.
        text=f"{code} {said}" if code[:1] in ("2", "4", "5") and not said.startswith(code) else said,
        remote=word.name(status, "mx-host") or "mailgun",
        reason=word.name(event, "reason") or word.name(event, "event"),
        is_held=word.text(event, "reason").startswith("suppress-"),
    )
