"""Read what comes back later: bounces in a standard form or none, complaints, automatic replies.

In: the octets of a mail.  Out: a Report that says of what kind it is and of whom it speaks, each with a verdict.
RFC 3464 and 6533 (`dsn`), RFC 5965 (`arf`), RFC 3834 (`auto_reply`), and texts (`prose_report`).

Pure. Any octets get an answer; work is bounded by MAX_OCTETS and MAX_DEPTH of `lenient_mime`.
"""

import re
from enum import IntEnum, StrEnum
from typing import NamedTuple

from relay.bounce import (
    arf,
    auto_reply,
    dsn,
    lenient_mime,
    prose_report,
    recipient_report,
    ses_notification,
    word_lists,
)
from relay.bounce.classify import BounceKind
from relay.bounce.recipient_report import RecipientReport


class ReportKind(StrEnum):
    DSN = "dsn"
    TEXT = "text"
    ARF = "arf"
    AUTO_REPLY = "auto_reply"
    NONE = "none"


class Report(NamedTuple):
    """`message_id`: of the returned mail, without brackets, `""` if there is none; `feedback`: a complaint's type;
    `addresses`: where the report itself was sent to, which is where a VERP token would be."""

    kind: ReportKind
    recipients: tuple[RecipientReport, ...] = ()
    message_id: str = ""
    feedback: str = ""
    addresses: tuple[str, ...] = ()


class BounceLikelihood(IntEnum):
    NOT = 0
    PERHAPS = 1
    SURELY = 2


class _MailTexts(NamedTuple):
    """What the readers of texts need of a mail. `rest`: the text from where the returned mail begins."""

    mail: lenient_mime.LenientPart
    original: lenient_mime.LenientPart | None
    notice: str
    returned_text: str
    sent_to: tuple[str, ...]


_SENT_TO = ("delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "x-rcpt-to", "to", "cc", "apparently-to")
_MESSAGE_ID = re.compile(r"(?<![\w.])(?:x-)?(?:original[- ])?message-id:\s{0,80}<([^<>\s]{1,900})>", re.IGNORECASE)
_TYPES_WITH_MESSAGE_ID = (*dsn.STATUS_TYPES, "message/disposition-notification", "message/feedback-report")
_TO = re.compile(r"^[> \t]*+to:[ \t]*+(.*+(?:\n[> ]{0,80}[ \t].*+){0,5})", re.IGNORECASE | re.MULTILINE)
_FIELDS = re.compile(r"^[> \t]*+[A-Za-z][A-Za-z0-9-]*+:.*+(?:\n[ \t].*+)*+$", re.MULTILINE)
MAX_EXPLAINED = 100  # recipients for whom the notice is searched, too
_ANSWER = re.compile(
    r"\A(?:re|aw|sv|fwd?|wg|tr|rv|antw|odp|res|回复|答复|回覆|转发)\s*+(?:\[\d{1,9}\])?:", re.IGNORECASE
)


def read_report(octets: bytes) -> Report:
    """What this mail reports. Never raises."""
    return _read_mail(lenient_mime.parse_mail(octets))


def _read_mail(mail: lenient_mime.LenientPart) -> Report:
    original = _find_original(mail)
    values = [value for name in _SENT_TO for value in mail.all_values(name)]
    sent_to = tuple(dict.fromkeys(address for value in values for address in recipient_report.find_addresses(value)))
    notice, rest = _split_texts(mail)
    texts = _MailTexts(mail, original, notice, rest, sent_to)
    message_id = _find_message_id(mail, original, rest, notice)
    if complained := arf.read_complaint(mail, original):
        return Report(ReportKind.ARF, complained.complainants, message_id, complained.feedback, sent_to)
    if failures := dsn.read_recipient_reports(dsn.find_status_parts(mail)):
        return Report(ReportKind.DSN, tuple(_with_explanations(failures, texts)), message_id, "", sent_to)
    if notification := ses_notification.read_notification(f"{notice}\n{rest}"):
        kind = ReportKind.ARF if notification.feedback else ReportKind.TEXT
        return Report(
            kind, notification.recipients, notification.message_id or message_id, notification.feedback, sent_to
        )
    likely = _bounce_likelihood(texts)
    if likely and (failures := _recipients_in_text(texts)):
        # Where little speaks for a bounce, the words have to.
        if likely is BounceLikelihood.SURELY or any(
            one.code or one.verdict.category != "undetermined" for one in failures
        ):
            return Report(ReportKind.TEXT, tuple(failures), message_id, "", sent_to)
    elif likely is BounceLikelihood.SURELY:
        # A gateway may have wrapped the report.
        if original and (inner := _read_mail(original)).kind is ReportKind.DSN:
            return inner._replace(addresses=sent_to)
        if (failures := _recipients_in_original(texts)) or not auto_reply.is_auto_reply(mail):
            return Report(ReportKind.TEXT, tuple(failures), message_id, "", sent_to)
    kind = ReportKind.AUTO_REPLY if auto_reply.is_auto_reply(mail) else ReportKind.NONE
    return Report(kind, (), message_id, "", sent_to)


def _find_original(mail: lenient_mime.LenientPart) -> lenient_mime.LenientPart | None:
    """The returned mail or its fields, if a part has it."""
    for part in mail.walk():
        if part is mail:
            continue
        if part.type.startswith("message/") and part.children:
            return part.children[0]
        if part.type in ("text/rfc822-headers", "message/global-headers", "text/rfc822", "message/rfc822-headers"):
            return lenient_mime.LenientPart(
                *lenient_mime.parse_fields(part.octets.replace(b"\r\n", b"\n").lstrip(b"\n"))
            )
    return None


def _find_message_id(mail: lenient_mime.LenientPart, original: lenient_mime.LenientPart | None, *texts: str) -> str:
    """The returned mail's: its own field, what a text says of it, else what the report says that it answers."""
    message_id = original.get("message-id") if original else ""
    if not message_id:
        status = (part.text[:20_000] for part in mail.walk() if part.type in _TYPES_WITH_MESSAGE_ID)
        matches = (_MESSAGE_ID.search(each, 0, 200_000) for each in (*texts, *status))
        message_id = next((match[1] for match in matches if match), "") or mail.get("in-reply-to")
    return message_id.strip().partition(">")[0].strip("< ")[:1000]


def _split_texts(mail: lenient_mime.LenientPart) -> tuple[str, str]:
    """The notice, and the text from where the returned mail begins."""
    leaves = [part for part in _own_parts(mail) if not part.children and part.type.startswith(("text/", "multipart/"))]
    plain = [part for part in leaves if part.type != "text/html" and part.text.strip()]
    if not any("@" in part.text for part in plain):
        plain = leaves
    return prose_report.split_notice("\n\n".join(part.text for part in plain)[: lenient_mime.MAX_TEXT])


def _own_parts(part: lenient_mime.LenientPart) -> list[lenient_mime.LenientPart]:
    """The parts outside of any returned message."""
    if part.type.startswith("message/") or part.type in ("text/rfc822-headers", "text/rfc822"):
        return []
    return [part, *(below for child in part.children for below in _own_parts(child))]


def _bounce_likelihood(texts: _MailTexts) -> BounceLikelihood:
    """How likely the mail is a bounce: something in the header section must speak for it, and the notice, too."""
    whole, subject = texts.mail, texts.mail.get("subject")[:500]
    if whole.get("x-failed-recipients"):
        return BounceLikelihood.SURELY
    is_daemon = bool(word_lists.list_pattern("bounce", "daemon").search(whole.get("from")[:500]))
    if not is_daemon and (_ANSWER.match(subject.lstrip()) or auto_reply.is_auto_reply(whole, by_subject_only=True)):
        return BounceLikelihood.NOT
    is_report = whole.parameters.get("report-type", "").lower() == "delivery-status"
    is_null = whole.get("return-path").strip() == "<>" or not whole.get("from").strip()
    is_subject = bool(word_lists.list_pattern("bounce", "subject").search(subject))
    is_said = bool(word_lists.list_pattern("bounce", "phrase").search(texts.notice[:20_000]))
    is_sure = bool(word_lists.list_pattern("bounce", "subject_sure").search(subject))
    # A mailing, whatever it writes of bounces; but some servers return a list's own fields with its mail.
    is_mailing = whole.get("list-unsubscribe") or (whole.get("list-id") and not (is_sure and is_said))
    if is_mailing and not is_daemon and not is_report:
        return BounceLikelihood.NOT
    if (
        is_report
        or (is_sure and is_said)
        or (is_daemon and (is_said or is_subject))
        or (is_null and is_subject and is_said)
    ):
        return BounceLikelihood.SURELY
    return BounceLikelihood.PERHAPS if is_said and (is_null or is_subject) else BounceLikelihood.NOT


def _recipients_in_text(texts: _MailTexts) -> list[RecipientReport]:
    """Whom the notice names; what X-Failed-Recipients lists comes first."""
    senders = recipient_report.find_addresses(" ".join([texts.mail.get("from"), texts.mail.get("return-path")]))
    others, senders_own = (frozenset(each.lower() for each in addresses) for addresses in (texts.sent_to, senders))
    everything = f"{texts.notice}\n{_FIELDS.sub('', texts.returned_text)}"
    recipients: list[prose_report.NamedRecipient] = []
    if failed := dict.fromkeys(recipient_report.find_addresses(" ".join(texts.mail.all_values("x-failed-recipients")))):
        by_address = {
            one.address.lower(): one
            for one in prose_report.find_recipients(texts.notice, frozenset(), prose_report.Grade.MENTIONED)
        }
        recipients = [
            by_address.get(address.lower(), prose_report.NamedRecipient(address, texts.notice[:2000], ""))
            for address in failed
        ]
    recipients = (
        recipients
        or prose_report.find_recipients(texts.notice, others, excluded_addresses=senders_own)
        or prose_report.find_recipients(everything, others, excluded_addresses=senders_own)
        or prose_report.find_recipients(texts.mail.get("subject"), others, excluded_addresses=senders_own)
        or prose_report.find_recipients(texts.notice, others, prose_report.Grade.MENTIONED, senders_own)
        or prose_report.find_recipients(texts.mail.get("subject"), others, prose_report.Grade.MENTIONED, senders_own)
    )
    if not recipients and (domain := next((address.partition("@")[2] for address in senders), "")):
        recipients = prose_report.find_bare_names(texts.notice, domain)
    return _judge_recipients(recipients, texts)


def _recipients_in_original(texts: _MailTexts) -> list[RecipientReport]:
    """The recipient of the returned mail, if it has but one: the last resort."""
    values = (
        list(texts.original.all_values("to"))
        if texts.original
        else [match[1] for match in _TO.finditer(texts.returned_text)][:1]
    )
    addresses = list(dict.fromkeys(recipient_report.find_addresses(" ".join(values))))
    # Mail to a list comes back to the list's own domain, and its To is no recipient.
    senders = {address.partition("@")[2].lower() for address in texts.sent_to}
    if len(addresses) != 1 or addresses[0].partition("@")[2].lower() in senders:
        return []
    return _judge_recipients([prose_report.NamedRecipient(addresses[0], texts.notice[:2000], "")], texts)


def _judge_recipients(recipients: list[prose_report.NamedRecipient], texts: _MailTexts) -> list[RecipientReport]:
    action, subject = _find_action(texts), texts.mail.get("subject")[:300]
    phase = (
        recipient_report.find_phase(texts.notice)
        if len(recipients) == 1
        else recipient_report.find_transcript_phase(texts.notice)
    )
    return [
        recipient_report.judge_recipient(one.address, action, "", one.text, (one.context, subject), phase=phase)
        for one in recipients
    ]


def _find_action(texts: _MailTexts) -> str:
    if word_lists.list_pattern("bounce", "given_up").search(texts.notice):
        return recipient_report.FAILED
    is_delayed = word_lists.list_pattern("bounce", "delayed").search(texts.notice)
    is_delayed = is_delayed or word_lists.list_pattern("bounce", "delayed_subject").search(
        texts.mail.get("subject")[:500]
    )
    return recipient_report.DELAYED if is_delayed else recipient_report.FAILED


def _with_explanations(failures: list[RecipientReport], texts: _MailTexts) -> list[RecipientReport]:
    """With what the notice says: the phase, and all of it where the status part gives no diagnostic."""
    of_all = recipient_report.find_phase(texts.notice)
    if (all(one.code for one in failures) and not of_all) or len(failures) > MAX_EXPLAINED:
        return failures
    text_by_address = {
        one.address.lower(): one.text
        for one in prose_report.find_recipients(texts.notice, frozenset(), prose_report.Grade.MENTIONED)
    }
    whole_notice = texts.notice[:2000] if len(failures) == 1 else ""
    if len(failures) > 1:
        of_all = recipient_report.find_transcript_phase(texts.notice)
    explained = []
    for one in failures:
        words = text_by_address.get(one.recipient.lower(), "")
        phase = recipient_report.find_phase(words) or of_all
        if not one.code or (phase and one.verdict.kind is BounceKind.HARD):
            diagnostic = one.text if one.code else f"{one.text}\n{words}".strip()
            context = () if one.code else (whole_notice,)
            one = recipient_report.judge_recipient(
                one.recipient, one.action, one.status, diagnostic, context, one.remote, one.original, phase
            )
        explained.append(one)
    return explained
