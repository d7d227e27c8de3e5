"""SendGrid's event webhook, signed with ECDSA (P-256, SHA-256) over timestamp and body.

In: headers and a body, a batch as a JSON list.  Out: provider events.
"""

import base64
import re
from collections.abc import Iterator, Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from relay.event_type import EventType
from web.inbound import provider_event
from web.inbound.provider_event import BadSignatureError, EventBatch, ProviderClass, ProviderEvent

SIGNATURE = "x-twilio-email-event-webhook-signature"
TIMESTAMP = "x-twilio-email-event-webhook-timestamp"
_STAMP = re.compile(r"[0-9]{1,20}")
_TYPES = {
    "delivered": EventType.DELIVERED,
    "deferred": EventType.DEFERRED,
    "bounce": EventType.BOUNCED,
    "dropped": EventType.BOUNCED,
    "spamreport": EventType.COMPLAINED,
    "unsubscribe": EventType.UNSUBSCRIBED,
    "group_unsubscribe": EventType.UNSUBSCRIBED,
}
EXPIRED = ProviderClass("expired")
# bounce_classification: why a mail was refused.
_CLASSES = {
    "Invalid Address": ProviderClass("user_unknown"),
    "Technical": ProviderClass("system"),
    "Technical Failure": ProviderClass("system"),
    "Content": ProviderClass("content"),
    "Reputation": ProviderClass("reputation"),
    "Frequency/Volume": ProviderClass("rate_limited"),
    "Frequency or Volume Too High": ProviderClass("rate_limited"),
    "Mailbox Unavailable": ProviderClass("mailbox_full"),  # full, inactive or suspended; the mildest of these
}
# Why a mail was dropped: because of an address on SendGrid's lists, or for another reason.
_HELD = frozenset({"Bounced Address", "Unsubscribed Address", "Spam Reporting Address"})
_DROPPED = {
    "Invalid": ProviderClass("user_unknown"),
    "Invalid SMTPAPI header": ProviderClass("protocol"),
    "Spam Content (if Spam Checker app is enabled)": ProviderClass("spam"),
    "Spam Content": ProviderClass("spam"),
    "Recipient List over Package Quota": ProviderClass("rate_limited"),
}


def check(headers: Mapping[str, str]) -> None:
    """Raises BadSignatureError for a request that has no signature, before its body is read."""
    if not headers.get(SIGNATURE) or not _STAMP.fullmatch(headers.get(TIMESTAMP, "")):
        raise BadSignatureError("the signature is not SendGrid's")


def verify(key: str, headers: Mapping[str, str], body: bytes) -> None:
    """Raises BadSignatureError. `key`: the DER public key in base64."""
    public = serialization.load_der_public_key(base64.b64decode(key))
    assert isinstance(public, ec.EllipticCurvePublicKey)
    try:
        signature = base64.b64decode(headers.get(SIGNATURE, ""), validate=True)
        public.verify(signature, headers.get(TIMESTAMP, "").encode() + body, ec.ECDSA(hashes.SHA256()))
    except (ValueError, InvalidSignature):
        raise BadSignatureError("the signature is not SendGrid's") from None


def parse_events(data: object) -> EventBatch:
    """The events of the batch. Raises MalformedPayloadError."""
    return provider_event.parse_batch(data, _parse_event)


def _parse_event(event: object) -> Iterator[ProviderEvent]:
    name, kind = provider_event.text(event, "event"), provider_event.text(event, "type")
    type_ = _TYPES.get(name)
    if type_ is None:
        return
    why = provider_event.reply(event, "reason")
    own = _DROPPED.get(why) if name == "dropped" else _CLASSES.get(provider_event.text(event, "bounce_classification"))
    reason = kind if kind in ("blocked", "expired") else name
    if name == "dropped":  # SendGrid's own words, not a server's reply
        why, reason = "", provider_event.identifier(event, "reason") or name
    if own is None and kind in ("bounce", "expired"):
        own = EXPIRED if kind == "expired" else provider_event.PERMANENT
    yield ProviderEvent(
        type=type_,
        id=provider_event.identifier(event, "sg_event_id"),
        at=provider_event.time(event, "timestamp"),
        recipient=provider_event.identifier(event, "email"),
        message_id=provider_event.identifier(event, "smtp-id"),
        receipt=provider_event.identifier(event, "sg_message_id").partition(".")[0],
        status=provider_event.status(event, "status"),
        text=why or provider_event.reply(event, "response"),
        remote="sendgrid",
        reason=reason,
        held_by_provider=name == "dropped" and reason in _HELD,
        provider_class=own,
        # `blocked` means that the receiver refuses the sender. It puts no address on SendGrid's list.
        may_be_hard=name == "bounce" and kind not in ("blocked", "expired"),
    )
