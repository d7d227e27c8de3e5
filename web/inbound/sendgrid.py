"""SendGrid's event webhook, signed with ECDSA (P-256, SHA-256) over timestamp and body.

In: headers and a body, a batch as a JSON list.  Out: Words.
"""

import base64
from collections.abc import Iterator, Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from relay.store.tables import EventType
from web.inbound import word
from web.inbound.word import Forged, Malformed, Word

SIGNATURE = "x-twilio-email-event-webhook-signature"
TIMESTAMP = "x-twilio-email-event-webhook-timestamp"
_TYPES = {
    "delivered": EventType.DELIVERED,
    "deferred": EventType.DEFERRED,
    "bounce": EventType.BOUNCED,
    "dropped": EventType.BOUNCED,
    "spamreport": EventType.COMPLAINED,
    "unsubscribe": EventType.UNSUBSCRIBED,
    "group_unsubscribe": EventType.UNSUBSCRIBED,
}


def verify(key: str, headers: Mapping[str, str], body: bytes) -> None:
    """Raises Forged. `key`: the DER public key in base64."""
    public = serialization.load_der_public_key(base64.b64decode(key))
    assert isinstance(public, ec.EllipticCurvePublicKey)
    try:
        signature = base64.b64decode(headers.get(SIGNATURE, ""), validate=True)
        public.verify(signature, headers.get(TIMESTAMP, "").encode() + body, ec.ECDSA(hashes.SHA256()))
    except (ValueError, InvalidSignature):
        raise Forged("the signature is not SendGrid's") from None


def words(data: object) -> Iterator[Word]:
    """What the batch says. Raises Malformed."""
    if not isinstance(data, list):
        raise Malformed("not a list of events")
    for event in data:
        type_ = _TYPES.get(word.text(event, "event"))
        if type_ is None:
            continue
        yield Word(
            type=type_,
            id=word.name(event, "sg_event_id"),
            at=word.time(event, "timestamp"),
            recipient=word.name(event, "email"),
            message_id=word.name(event, "smtp-id"),
            receipt=word.name(event, "sg_message_id").partition(".")[0],
            status=word.name(event, "status"),
            text=word.text(event, "reason") or word.text(event, "response"),
            remote="sendgrid",
            reason=word.name(event, "event"),
            is_held=word.text(event, "event") == "dropped",
        )
