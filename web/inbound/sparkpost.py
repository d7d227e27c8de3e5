"""SparkPost's webhooks: a list of events, with the credentials that were given for them.

In: a JSON list.  Out: provider events.
"""

from collections.abc import Iterator

from relay.event_type import EventType
from web.inbound import provider_event
from web.inbound.provider_event import Batch, Class, ProviderEvent

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
# bounce_class, by its number. Answers are no failure, and an unsubscribe is one.
_ANSWERS = frozenset({"60", "80", "100"})
_UNSUBSCRIBE = "90"
_HELD = "26"  # by its engagement rules
_CLASSES = {
    "10": Class("user_unknown"),
    "20": Class("undetermined"),
    "21": Class("system"),
    "22": Class("mailbox_full"),
    "23": Class("too_large"),
    "24": Class("expired"),
    "25": Class("policy"),
    "30": provider_event.PERMANENT,
    "40": Class("undetermined"),
    "50": Class("reputation"),
    "51": Class("reputation"),
    "52": Class("spam"),
    "53": Class("content"),
    "54": Class("relay_denied"),
    "70": Class("system"),
}


def parse_events(data: object) -> Batch:
    """What the batch says; none for the empty one by which an endpoint is tried. Raises MalformedPayloadError."""
    return provider_event.parse_batch(data, _parse_event)


def _parse_event(one: object) -> Iterator[ProviderEvent]:
    held = provider_event.get(one, "msys")
    event = next(iter(held.values()), None) if isinstance(held, dict) else None
    name, number = provider_event.text(event, "type"), provider_event.text(event, "bounce_class")
    type_ = _TYPES.get(name)
    if type_ is None or (type_ is EventType.BOUNCED and number in _ANSWERS):
        return
    if type_ is EventType.COMPLAINED and provider_event.text(event, "fbtype").lower() in provider_event.NO_COMPLAINTS:
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
        own=_CLASSES.get(number),
        may_be_hard=not name.startswith("generation_"),
    )
