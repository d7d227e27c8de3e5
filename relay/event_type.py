"""What can happen to a message or a delivery: the one list of event types.

The database, the API, webhooks and their formats, statistics and pages follow from it.
"""

from enum import StrEnum


class EventType(StrEnum):
    ACCEPTED = "accepted"
    DELIVERED = "delivered"
    DEFERRED = "deferred"
    BOUNCED = "bounced"
    EXPIRED = "expired"
    SUPPRESSED = "suppressed"
    OPENED = "opened"
    CLICKED = "clicked"
    UNSUBSCRIBED = "unsubscribed"
    RESUBSCRIBED = "resubscribed"  # took an unsubscribe back
    COMPLAINED = "complained"
