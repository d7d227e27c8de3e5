"""One attempt at a delivery, as its row has it."""

from datetime import datetime
from typing import NamedTuple


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
