"""What a delivery's state means, and what an operator can do about it, in sentences. Pure."""

from typing import NamedTuple

from relay.bounce import classify
from relay.store.queue import queue_actions
from relay.store.views.message_detail import DeliveryDetail

_MEANINGS = {
    "queued": "It waits for its first attempt.",
    "delivered": "The receiving side took responsibility for it.",
    "deferred": "It was not taken for now, and is attempted again.",
    "bounced": "It was refused for good, and is not attempted again.",
    "expired": "It was not taken in time, and is not attempted again.",
    "suppressed": "It was not sent: the address is, or was, on the list of those that get no mail.",
}


class StateText(NamedTuple):
    """A delivery's state in words; `advice` is empty where there is nothing to do."""

    meaning: str
    advice: str


def describe_state(delivery: DeliveryDetail) -> StateText:
    """What the state of that delivery means, and what to do."""
    meaning, category = _MEANINGS.get(delivery.status, ""), delivery.category
    if delivery.status == "expired" and category == queue_actions.DROPPED:
        return StateText("An operator took it out of the queue.", "Send it again if that was wrong.")
    if delivery.status == "bounced" and delivery.delivered_at:
        meaning = "It was taken first, and came back later: a report said that it could not be delivered."
    if delivery.held_at and delivery.next_attempt_at:
        return StateText("An operator holds it back.", "Release it to have it attempted.")
    if delivery.status in ("bounced", "deferred") and category in classify.CATEGORIES:
        return StateText(meaning, classify.advice_for(category))
    if delivery.status == "expired":
        return StateText(meaning, "Look at the last reply for the reason; send it again once that is mended.")
    return StateText(meaning, "")
