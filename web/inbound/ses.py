"""Amazon SES's notifications and events, as they come in an SNS message.

In: the JSON of the message.  Out: Words, one for each recipient.
"""

from collections.abc import Iterator
from typing import Any

from relay.store.tables import EventType
from web.inbound import word
from web.inbound.word import Word

# The event: its type with us, its list of recipients.
_EVENTS = {
    "Bounce": (EventType.BOUNCED, "bounce", "bouncedRecipients"),
    "Complaint": (EventType.COMPLAINED, "complaint", "complainedRecipients"),
    "Delivery": (EventType.DELIVERED, "delivery", "recipients"),
    "DeliveryDelay": (EventType.DEFERRED, "deliveryDelay", "delayedRecipients"),
}


def words(data: object, notification: str) -> Iterator[Word]:
    """What it says. `notification`: the id of the SNS message. Raises Malformed."""
    name = word.text(data, "notificationType") or word.text(data, "eventType")
    if name not in _EVENTS or word.text(data, "complaint", "complaintFeedbackType") == "not-spam":
        return
    type_, key, recipients = _EVENTS[name]
    event: Any = word.at(data, key)  # Any: what JSON holds
    sub_type = word.text(event, "bounceSubType")
    for one in word.items(event, recipients):
        recipient = one if isinstance(one, str) else word.name(one, "emailAddress")
        yield Word(
            type=type_,
            id=f"{word.name(event, 'feedbackId') or notification} {recipient}",
            at=word.time(event, "timestamp"),
            recipient=recipient,
            message_id=word.name(data, "mail", "commonHeaders", "messageId"),
            receipt=word.name(data, "mail", "messageId"),
            reverse_path=word.name(data, "mail", "source"),
            status=word.name(one, "status") or ("5.1.1" if sub_type == "NoEmail" else ""),
            text=word.text(one, "diagnosticCode") or word.text(event, "smtpResponse"),
            remote=word.name(event, "reportingMTA").rpartition(" ")[2] or "ses",
            reason=sub_type or word.name(event, "complaintFeedbackType") or name,
            is_held=sub_type in ("Suppressed", "OnAccountSuppressionList"),
        )
