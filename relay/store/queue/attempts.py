"""One attempt at a delivery, as its row has it."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from relay.conversation import ConversationLine


class AttemptDetail(NamedTuple):
    """One attempt and its reply."""

    at: datetime
    upstream: str
    phase: str
    code: int
    status: str
    text: str
    took_ms: int
    rule: str
    uncertain: bool  # it may have arrived
    conversation: Sequence[ConversationLine] = ()  # read for a single message only


ATTEMPT_COLUMNS = tuple(name for name in AttemptDetail._fields if name != "conversation")
