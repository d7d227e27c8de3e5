"""Split the reply in an event into its parts, and classify the failure.

In: an event.  Out: code, enhanced status and text; hard, soft, or a block that is not the address's fault.
"""

import re
from enum import StrEnum
from typing import NamedTuple

from relay.bounce import classify
from relay.store.views.webhook_event import WebhookEvent

_REPLY = re.compile(r"(?:(\d{3})(?:\s+|$))?(?:(\d\.\d{1,3}\.\d{1,3})(?:\s+|$))?(.*)", re.DOTALL)
BLOCK_CATEGORIES = frozenset(
    {"policy", "reputation", "authentication", "spam", "content", "sender_rejected", "relay_denied", "rate_limited"}
)


class FailureClass(StrEnum):
    """What a failure means for the address."""

    HARD = "hard"
    SOFT = "soft"
    BLOCK = "block"


class SmtpReplyText(NamedTuple):
    """The parts of a reply. Code 0: there was none."""

    code: int
    status: str
    text: str


def split_reply(event: WebhookEvent) -> SmtpReplyText:
    found = _REPLY.fullmatch(event.detail)
    assert found  # every text fits
    return SmtpReplyText(int(found[1] or 0), found[2] or "", found[3])


def failure_class(event: WebhookEvent) -> FailureClass:
    category = classify.RULES.categories.get(event.category)
    if category and category.suppress:
        return FailureClass.HARD
    return FailureClass.BLOCK if event.category in BLOCK_CATEGORIES else FailureClass.SOFT
