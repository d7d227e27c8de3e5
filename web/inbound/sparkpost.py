"""SparkPost's webhooks: a list of events, with the credentials that were given for them.

In: a JSON list.  Out: Words.
"""

from collections.abc import Iterator

from relay.store.tables import EventType
from web.inbound import word
from web.inbound.word import Batch, Class, Word

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
    "30": word.PERMANENT,
    "40": Class("undetermined"),
    "50": Class("reputation"),
    "51": Class("reputation"),
    "52": Class("spam"),
    "53": Class("content"),
    "54": Class("relay_denied"),
    "70": Class("system"),
}


def words(data: object) -> Batch:
    """What the batch says; none for the empty one by which an endpoint is tried. Raises Malformed."""
    return word.read_all(data, _words)


def _words(one: object) -> Iterator[Word]:
    held = word.at(one, "msys")
    event = next(iter(held.values()), None) if isinstance(held, dict) else None
    name, number = word.text(event, "type"), word.text(event, "bounce_class")
    type_ = _TYPES.get(name)
    if type_ is None or (type_ is EventType.BOUNCED and number in _ANSWERS):
        return
    if type_ is EventType.COMPLAINED and word.text(event, "fbtype").lower() in word.NO_COMPLAINTS:
        return
    if type_ is EventType.BOUNCED and number == _UNSUBSCRIBE:
        type_ = EventType.UNSUBSCRIBED
    yield Word(
        type=type_,
        id=word.name(event, "event_id"),
        at=word.time(event, "timestamp"),
        recipient=word.name(event, "raw_rcpt_to") or word.name(event, "rcpt_to"),
        receipt=word.name(event, "message_id"),
        reverse_path=word.name(event, "msg_from"),
        text=word.reply(event, "raw_reason") or word.reply(event, "reason"),
        remote="sparkpost",
        reason=word.name(event, "type"),
        is_held=name == "policy_rejection" or number == _HELD,
        own=_CLASSES.get(number),
        may_be_hard=not name.startswith("generation_"),
    )
