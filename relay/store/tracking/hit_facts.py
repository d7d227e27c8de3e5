"""Stored facts that the web process reports, as values."""

from datetime import datetime
from typing import NamedTuple

from relay.event_type import EventType


class Hit(NamedTuple):
    """A request that is counted, as the web process has judged it."""

    id: str
    type: EventType
    at: datetime
    message: str
    number: int | None  # None: all recipients of the message have the same URLs
    verdict: str = ""
    reasons: tuple[str, ...] = ()
    url: str = ""
    user_agent: str = ""
    ip: str = ""
    for_message_only: bool = False  # counts for the message, not for this recipient
    link: int = 0


class TrackingRequest(NamedTuple):
    """A recipient asked not to be tracked, with the link of a message."""

    at: datetime
    message: str
    number: int
