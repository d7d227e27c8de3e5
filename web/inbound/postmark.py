"""Postmark's webhooks: one JSON object each, with the credentials that were put into their URL.

In: a JSON object.  Out: Words.
"""

from collections.abc import Iterator

from relay.store.tables import EventType
from web.inbound import word
from web.inbound.word import Class, Malformed, Word

# Types of its bounces that are none: answers, and mail that came in.
_NO_BOUNCE = frozenset(
    {"AutoResponder", "AddressChange", "Subscribe", "ChallengeVerification", "OpenRelayTest", "InboundError"}
)
_OTHER_TYPES = {
    "Transient": EventType.DEFERRED,
    "SpamComplaint": EventType.COMPLAINED,
    "Unsubscribe": EventType.UNSUBSCRIBED,
}
# An operator's list, or a recipient who has not said yes.
_HELD = frozenset({"ManuallyDeactivated", "Unconfirmed"})
_CLASSES = {
    "HardBounce": word.PERMANENT,
    "BadEmailAddress": Class("user_unknown"),
    "SoftBounce": Class("undetermined"),
    "Unknown": Class("undetermined"),
    "DnsError": Class("system"),
    "SpamNotification": Class("spam"),
    "VirusNotification": Class("content"),
    "Blocked": Class("reputation"),
    "DMARCPolicy": Class("authentication"),
    "SMTPApiError": Class("protocol"),
    "TemplateRenderingFailed": Class("protocol"),
}
_NEVER_SENT = frozenset({"SMTPApiError", "TemplateRenderingFailed"})
_KNOWN = frozenset({"Bounce", "SpamComplaint", "Delivery", "SubscriptionChange"})


def words(data: object) -> Iterator[Word]:
    """What it says. Raises Malformed."""
    if not isinstance(data, dict):
        raise Malformed("not an object")
    record, kind = word.text(data, "RecordType"), word.text(data, "Type")
    if record not in _KNOWN or kind in _NO_BOUNCE:
        return
    if record == "Delivery":
        type_, when = EventType.DELIVERED, "DeliveredAt"
    elif record == "SubscriptionChange":
        if word.at(data, "SuppressSending") is not True or word.text(data, "Origin") != "Recipient":
            return  # bounces and complaints have their own; what an operator does there is no recipient's wish
        type_, when = EventType.UNSUBSCRIBED, "ChangedAt"
    else:
        type_, when = _OTHER_TYPES.get(kind, EventType.BOUNCED), "BouncedAt"
        type_ = EventType.COMPLAINED if record == "SpamComplaint" else type_
    own = word.name(data, "ID") or word.name(data, "MessageID") + word.name(data, when)
    said = word.reply(data, "Details")
    if not said and kind not in _CLASSES:
        said = word.reply(data, "Description")  # of a type that we know, it is the same text each time: "(ex: …)"
    yield Word(
        type=type_,
        id=f"{record} {own} {word.name(data, 'Recipient') or word.name(data, 'Email')}",
        at=word.time(data, when),
        recipient=word.name(data, "Recipient") or word.name(data, "Email"),
        receipt=word.name(data, "MessageID"),
        text=said,
        remote="postmark",
        reason=word.name(data, "Type") or record,
        is_held=kind in _HELD,
        own=_CLASSES.get(kind),
        may_be_hard=kind not in _NEVER_SENT,
    )
