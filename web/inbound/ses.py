"""Amazon SES's notifications and events, as they come in an SNS message.

In: the JSON of the message.  Out: provider events, one for each recipient.
"""

from collections.abc import Iterator
from typing import Any

from relay.event_type import EventType
from web.inbound import provider_event
from web.inbound.provider_event import ProviderClass, ProviderEvent

# By the event's name: our type, the event's object, and its list of recipients.
_EVENTS = {
    "Bounce": (EventType.BOUNCED, "bounce", "bouncedRecipients"),
    "Complaint": (EventType.COMPLAINED, "complaint", "complainedRecipients"),
    "Delivery": (EventType.DELIVERED, "delivery", "recipients"),
    "DeliveryDelay": (EventType.DEFERRED, "deliveryDelay", "delayedRecipients"),
}
# Mail that never left SES (a virus, a fault in a template): all its recipients.
_NEVER_SENT = {"Reject": ("reject", "reason"), "Rendering Failure": ("failure", "errorMessage")}
_HELD = frozenset({"Suppressed", "OnAccountSuppressionList", "UnsubscribedRecipient"})
# By type and subtype of a bounce. What is not permanent is never hard.
_CLASSES = {
    ("Permanent", "General"): provider_event.PERMANENT,
    ("Permanent", ""): provider_event.PERMANENT,
    ("Permanent", "NoEmail"): ProviderClass("user_unknown"),
    ("Transient", "MailboxFull"): ProviderClass("mailbox_full"),
    ("Transient", "MessageTooLarge"): ProviderClass("too_large"),
    ("Transient", "ContentRejected"): ProviderClass("content"),
    ("Transient", "AttachmentRejected"): ProviderClass("content"),
    ("Transient", "CustomTimeoutExceeded"): ProviderClass("expired"),
}


def parse_events(data: object, notification: str) -> Iterator[ProviderEvent]:
    """The events of the message. `notification`: the id of the SNS message. Raises MalformedPayloadError."""
    name = provider_event.text(data, "notificationType") or provider_event.text(data, "eventType")
    if name in _NEVER_SENT:
        yield from _parse_rejection(data, name, notification)
    elif name == "Subscription":
        yield from _parse_unsubscribe(data, notification)
    elif name in _EVENTS:
        yield from _parse_recipients(data, name, notification)


def _parse_recipients(data: object, name: str, notification: str) -> Iterator[ProviderEvent]:
    type_, key, recipients = _EVENTS[name]
    event: Any = provider_event.get(data, key)  # Any: what JSON holds
    kind, sub_type = provider_event.text(event, "bounceType"), provider_event.text(event, "bounceSubType")
    if provider_event.text(event, "complaintFeedbackType") in provider_event.NOT_COMPLAINTS:
        return
    # The mail was held back because of an earlier complaint; nobody complained now.
    held_by_provider = sub_type in _HELD or provider_event.text(event, "complaintSubType") in _HELD
    for one in provider_event.list_items(event, recipients):
        recipient = (
            provider_event.identifier({"": one}, "")
            if isinstance(one, str)
            else provider_event.identifier(one, "emailAddress")
        )
        status, reply_text = provider_event.status(one, "status"), provider_event.reply(one, "diagnosticCode")
        if (kind, sub_type) == ("Transient", "General") and not (
            status or reply_text or provider_event.text(one, "action")
        ):
            continue  # SES reports an absence note so; it is no failure
        yield ProviderEvent(
            type=EventType.BOUNCED if held_by_provider else type_,
            id=f"{provider_event.identifier(event, 'feedbackId') or notification} {recipient}",
            at=provider_event.time(event, "timestamp"),
            recipient=recipient,
            **_mail_fields(data),
            status=status,
            text=reply_text or provider_event.reply(event, "smtpResponse"),
            remote=provider_event.host(event, "reportingMTA") or "ses",
            reason=(
                provider_event.identifier(event, "bounceSubType")
                or provider_event.identifier(event, "complaintFeedbackType")
                or provider_event.identifier(event, "delayType")
                or name
            ),
            held_by_provider=held_by_provider,
            provider_class=_CLASSES.get((kind, sub_type)),
            may_be_hard=kind == "Permanent" or bool(reply_text),
        )


def _parse_rejection(data: object, name: str, notification: str) -> Iterator[ProviderEvent]:
    key, why = _NEVER_SENT[name]
    for one in provider_event.list_items(data, "mail", "destination"):
        recipient = provider_event.identifier({"": one}, "")
        yield ProviderEvent(
            type=EventType.BOUNCED,
            id=f"{notification} {recipient}",
            at=provider_event.time(data, "mail", "timestamp"),
            recipient=recipient,
            **_mail_fields(data),
            text=provider_event.reply(data, key, why),
            remote="ses",
            reason=name,
            provider_class=ProviderClass("content"),
            may_be_hard=False,
        )


def _parse_unsubscribe(data: object, notification: str) -> Iterator[ProviderEvent]:
    """The recipient who left all topics of an SES list. Of a mail to several, SES does not say who it was."""
    recipients = list(provider_event.list_items(data, "mail", "destination"))
    if (
        provider_event.get(data, "subscription", "newTopicPreferences", "unsubscribeAll") is not True
        or len(recipients) != 1
    ):
        return
    recipient = provider_event.identifier({"": recipients[0]}, "")
    yield ProviderEvent(
        type=EventType.UNSUBSCRIBED,
        id=f"{notification} {recipient}",
        at=provider_event.time(data, "subscription", "timestamp"),
        recipient=recipient,
        **_mail_fields(data),
        remote="ses",
        reason="Subscription",
    )


def _mail_fields(data: object) -> dict[str, Any]:  # Any: fields of a ProviderEvent
    """The fields that identify the mail."""
    return {
        "message_id": provider_event.identifier(data, "mail", "commonHeaders", "messageId"),
        "receipt": provider_event.identifier(data, "mail", "messageId"),
        "reverse_path": provider_event.identifier(data, "mail", "source"),
    }
