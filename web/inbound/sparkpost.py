"""SparkPost's webhooks: a list of events, with the credentials that were given for them.

In: a JSON list.  Out: Words.
"""

from collections.abc import Iterator

from relay.store.tables import EventType
from web.inbound import word
from web.inbound.word import Malformed, Word

_TYPES = {
    "delivery": EventType.DELIVERED,
    "delay": EventType.DEFERRED,
    "bounce": EventType.BOUNCED,
    "out_of_band": EventType.BOUNCED,
    "policy_rejection": EventType.BOUNCED,
    "spam_complaint": EventType.COMPLAINED,
    "list_unsubscribe": EventType.UNSUBSCRIBED,
    "link_unsubscribe": EventType.UNSUBSCRIBED,
}


def words(data: object) -> Iterator[Word]:
    """What the batch says; none for the empty one by which an endpoint is tried. Raises Malformed."""
    if not isinstance(data, list):
        raise Malformed("not a list of events")
    for one in data:
        held = word.at(one, "msys")
        event = next(iter(held.values()), None) if isinstance(held, dict) else None
        type_ = _TYPES.get(word.text(event, "type"))
        if type_ is None:
            continue
        yield Word(
            type=type_,
            id=word.name(event, "event_id"),
            at=word.time(event, "timestamp"),
            recipient=word.name(event, "raw_rcpt_to") or word.name(event, "rcpt_to"),
            receipt=word.name(event, "message_id"),
            reverse_path=word.name(event, "msg_from"),
            text=word.text(event, "raw_reason") or word.text(event, "reason"),
            remote="sparkpost",
            reason=word.name(event, "type"),
            is_held=word.text(event, "type") == "policy_rejection",
        )
