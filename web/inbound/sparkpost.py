"""SparkPost's webhooks: a list of events, with the credentials that the operator has set.

In: a JSON list.  Out: provider events.
"""

from collections.abc import Iterator

from relay.event_type import EventType
from web.inbound import provider_event
from web.inbound.provider_event import EventBatch, ProviderClass, ProviderEvent

_TYPES = {
    "delivery": EventType.DELIVERED,
    "delay": EventType.DEFERRED,
    "bounce": EventType.BOUNCED,
    "out_of_band": EventType.BOUNCED,
    "policy_rejection": EventType.BOUNCED,
    "generation_failure": EventType.BOUNCED,
    "generation_rejection": EventType.BOUNCED,
    "spam_complaint": EventType.COMPLAINED,
    "list_unsubscribe": EventType.UNSUBSCRIBED,
    "link_unsubscribe": EventType.UNSUBSCRIBED,
}
# bounce_class, by its number. Automatic replies are no failure; an unsubscribe is one.
_ANSWERS = frozenset({"60", "80", "100"})
_UNSUBSCRIBE = "90"
_HELD = "26"  # held by SparkPost's engagement rules
_CLASSES = {
    "10": ProviderClass("user_unknown"),
    "20": ProviderClass("undetermined"),
    "21": ProviderClass("system"),
    "22": ProviderClass("mailbox_full"),
    "23": ProviderClass("too_large"),
    "24": ProviderClass("expired"),
    "25": ProviderClass("policy"),
    "30": provider_event.PERMANENT,
    "40": ProviderClass("undetermined"),
    "50": ProviderClass("reputation"),
    "51": ProviderClass("reputation"),
    "52": ProviderClass("spam"),
    "53": ProviderClass("content"),
    "54": ProviderClass("relay_denied"),
    "70": ProviderClass("system"),
}


def parse_events(data: object) -> EventBatch:
    """The events of the batch; none for the empty batch that tests an endpoint. Raises MalformedPayloadError."""
    return provider_event.parse_batch(data, _parse_event)


def _parse_event(one: object) -> Iterator[ProviderEvent]:
    wrapper = provider_event.get(one, "msys")
    event = next(iter(wrapper.values()), None) if isinstance(wrapper, dict) else None
    name, number = provider_event.text(event, "type"), provider_event.text(event, "bounce_class")
    type_ = _TYPES.get(name)
    if type_ is None or (type_ is EventType.BOUNCED and number in _ANSWERS):
        return
    if type_ is EventType.COMPLAINED and provider_event.text(event, "fbtype").lower() in provider_event.NOT_COMPLAINTS:
        return
    if type_ is EventType.BOUNCED and number == _UNSUBSCRIBE:
        type_ = EventType.UNSUBSCRIBED
    yield ProviderEvent(
        type=type_,
        id=provider_event.identifier(event, "event_id"),
        at=provider_event.time(event, "timestamp"),
        recipient=provider_event.identifier(event, "raw_rcpt_to") or provider_event.identifier(event, "rcpt_to"),
        receipt=provider_event.identifier(event, "message_id"),
        reverse_path=provider_event.identifier(event, "msg_from"),
        text=provider_event.reply(event, "raw_reason") or provider_event.reply(event, "reason"),
        remote="sparkpost",
        reason=provider_event.identifier(event, "type"),
        held_by_provider=name == "policy_rejection" or number == _HELD,
        provider_class=_CLASSES.get(number),
        may_be_hard=not name.startswith("generation_"),
    )
