"""Read Amazon's notifications of bounces and complaints, which come as JSON, here by mail.

In: a text that holds such an object, bare or wrapped by the topic it was sent through.  Out: the recipients, each
with a verdict.  Amazon SES Developer Guide, "notification contents" and "event data".
"""

import json
from typing import NamedTuple

from relay.bounce import arf, dsn, recipient_report
from relay.bounce.recipient_report import RecipientReport

_TYPE_KEYS = ('"notificationType"', '"eventType"', '\\"notificationType\\"', '\\"eventType\\"')
_MAX_WRAPPINGS = 2
_MAX_STARTS = 20  # places at which an object is looked for


class SesNotification(NamedTuple):
    """`feedback`: the type of a complaint, `""` for a bounce; `message_id`: the mail's own, without brackets."""

    feedback: str
    recipients: tuple[RecipientReport, ...]
    message_id: str


def read_notification(text: str) -> SesNotification | None:
    """What the first notification in the text says; None if there is none, or of another kind."""
    if not any(word in text for word in _TYPE_KEYS):
        return None
    notification = _unwrap(text)
    kind = notification.get("notificationType") or notification.get("eventType")
    mail = _as_object(notification.get("mail"))
    message_id = _as_text(_as_object(mail.get("commonHeaders")).get("messageId")).strip("<> ")[:1000]
    if kind == "Bounce":
        bounce = _as_object(notification.get("bounce"))
        return SesNotification(
            "", tuple(_judge_bounced(bounce, one) for one in _listed_recipients(bounce, "bounced")), message_id
        )
    if kind == "Complaint":
        complaint = _as_object(notification.get("complaint"))
        feedback = _as_text(complaint.get("complaintFeedbackType")).lower() or "abuse"
        complainants = (_as_text(one.get("emailAddress")) for one in _listed_recipients(complaint, "complained"))
        return SesNotification(
            feedback, arf.complaint_reports(feedback, map(dsn.recipient_mailbox, complainants)), message_id
        )
    return None


def _unwrap(text: str) -> dict[str, object]:
    for _ in range(_MAX_WRAPPINGS):
        unwrapped = _find_object(text)
        text = _as_text(unwrapped.get("Message"))
        if "mail" in unwrapped or not text:
            return unwrapped
    return _find_object(text)


def _find_object(text: str) -> dict[str, object]:
    """The first JSON object in the text that can be read; empty if none can."""
    decoder, start = json.JSONDecoder(), -1
    for _ in range(_MAX_STARTS):
        start = text.find("{", start + 1)
        if start < 0:
            break
        if text[text.rfind("\n", 0, start) + 1 : start].strip():
            continue  # quoted, or within a sentence
        try:
            found_object, _ = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        return _as_object(found_object)
    return {}


def _judge_bounced(bounce: dict[str, object], one: dict[str, object]) -> RecipientReport:
    # A bounce of the type Transient may pass with time, whatever its status.
    passing = _as_text(bounce.get("bounceType")) == "Transient"
    status = _as_text(one.get("status")) or ("4.0.0" if passing else "")
    diagnostic = _as_text(one.get("diagnosticCode"))
    kind, semicolon, rest = diagnostic.partition(";")
    reply_text = rest.strip() if semicolon and kind.strip().lower() == "smtp" else diagnostic
    if _as_text(bounce.get("bounceSubType")) in ("Suppressed", "OnAccountSuppressionList"):
        reply_text = f"{reply_text} (on the suppression list)"
    elif not reply_text:
        reply_text = _SUBTYPE_TEXTS.get((_as_text(bounce.get("bounceType")), _as_text(bounce.get("bounceSubType"))), "")
    action = dsn.normalize_action(_as_text(one.get("action")) or "failed", status)
    return recipient_report.judge_recipient(
        dsn.recipient_mailbox(_as_text(one.get("emailAddress"))), action, status, reply_text
    )


# What the subtypes mean, in words that the rules know, where no diagnostic was passed on.
_SUBTYPE_TEXTS = {
    ("Permanent", "NoEmail"): "no such recipient",
    ("Permanent", "General"): "no such recipient",
    ("Transient", "MailboxFull"): "mailbox full",
    ("Transient", "MessageTooLarge"): "message too large",
    ("Transient", "ContentRejected"): "message content rejected",
    ("Transient", "AttachmentRejected"): "attachment rejected",
}


def _listed_recipients(section: dict[str, object], kind: str) -> list[dict[str, object]]:
    listed = section.get(f"{kind}Recipients")
    recipients = [_as_object(one) for one in listed[: dsn.MAX_RECIPIENTS]] if isinstance(listed, list) else []
    return [one for one in recipients if dsn.recipient_mailbox(_as_text(one.get("emailAddress")))]


def _as_object(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _as_text(value: object) -> str:
    """The string without halves of a pair, which JSON can escape and nothing can write; `""` for anything else."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""
