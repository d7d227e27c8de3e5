"""Postmark's webhooks: one JSON object each, with the credentials that were put into their URL.

In: a JSON object.  Out: provider events.
"""

from collections.abc import Iterator

from relay.event_type import EventType
from web.inbound import provider_event
from web.inbound.provider_event import MalformedPayloadError, ProviderClass, ProviderEvent

# Postmark calls these bounces, but they are replies and incoming mail.
_NO_BOUNCE = frozenset(
    {"AutoResponder", "AddressChange", "Subscribe", "ChallengeVerification", "OpenRelayTest", "InboundError"}
)
_OTHER_TYPES = {
    "Transient": EventType.DEFERRED,
    "SpamComplaint": EventType.COMPLAINED,
    "Unsubscribe": EventType.UNSUBSCRIBED,
}
# An operator's list, or a recipient who has not confirmed.
_HELD = frozenset({"ManuallyDeactivated", "Unconfirmed"})
_CLASSES = {
    "HardBounce": provider_event.PERMANENT,
    "BadEmailAddress": ProviderClass("user_unknown"),
    "SoftBounce": ProviderClass("undetermined"),
    "Unknown": ProviderClass("undetermined"),
    "DnsError": ProviderClass("system"),
    "SpamNotification": ProviderClass("spam"),
    "VirusNotification": ProviderClass("content"),
    "Blocked": ProviderClass("reputation"),
    "DMARCPolicy": ProviderClass("authentication"),
    "SMTPApiError": ProviderClass("protocol"),
    "TemplateRenderingFailed": ProviderClass("protocol"),
}
_NEVER_SENT = frozenset({"SMTPApiError", "TemplateRenderingFailed"})
_KNOWN = frozenset({"Bounce", "SpamComplaint", "Delivery", "SubscriptionChange"})


def parse_events(data: object) -> Iterator[ProviderEvent]:
    """The event of the object. Raises MalformedPayloadError."""
    if not isinstance(data, dict):
        raise MalformedPayloadError("not an object")
    record, kind = provider_event.text(data, "RecordType"), provider_event.text(data, "Type")
    if record not in _KNOWN or kind in _NO_BOUNCE:
        return
    if record == "Delivery":
        type_, when = EventType.DELIVERED, "DeliveredAt"
    elif record == "SubscriptionChange":
        if (
            provider_event.get(data, "SuppressSending") is not True
            or provider_event.text(data, "Origin") != "Recipient"
        ):
            return  # bounces and complaints have events of their own; an operator's change is no recipient's wish
        type_, when = EventType.UNSUBSCRIBED, "ChangedAt"
    else:
        type_, when = _OTHER_TYPES.get(kind, EventType.BOUNCED), "BouncedAt"
        type_ = EventType.COMPLAINED if record == "SpamComplaint" else type_
    receipt = provider_event.identifier(data, "MessageID")
    own = provider_event.identifier(data, "ID") or receipt + provider_event.identifier(data, when)
    reply_text = provider_event.reply(data, "Details")
    if not reply_text and kind not in _CLASSES:
        reply_text = provider_event.reply(
            data, "Description"
        )  # of a type that we know, it is the same text each time: "(ex: …)"
    yield ProviderEvent(
        type=type_,
        id=f"{record} {own} {provider_event.identifier(data, 'Recipient') or provider_event.identifier(data, 'Email')}",
        at=provider_event.time(data, when),
        recipient=provider_event.identifier(data, "Recipient") or provider_event.identifier(data, "Email"),
        receipt=receipt,
        text=reply_text,
        remote="postmark",
        reason=provider_event.identifier(data, "Type") or record,
        held_by_provider=kind in _HELD,
        provider_class=_CLASSES.get(kind),
        may_be_hard=kind not in _NEVER_SENT,
    )
