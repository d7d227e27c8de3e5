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
from relay.bounce.recipient_report import Failure


class ReportKind(StrEnum):
    DSN = "dsn"
    TEXT = "text"
    ARF = "arf"
    AUTO_REPLY = "auto_reply"
    NONE = "none"


class Report(NamedTuple):
    """`message_id`: of the returned mail, without brackets, `""` if it is not told; `feedback`: a complaint's type;
    `addresses`: where the report itself was sent to, which is where a VERP token would be."""

    kind: ReportKind
    failures: tuple[Failure, ...] = ()
    message_id: str = ""
    feedback: str = ""
    addresses: tuple[str, ...] = ()


class Likely(IntEnum):
    NOT = 0
    PERHAPS = 1
    SURELY = 2


class _Seen(NamedTuple):
    """What the readers of texts need of a mail. `rest`: the text from where the returned mail begins."""

    whole: lenient_mime.Part
    original: lenient_mime.Part | None
    notice: str
    rest: str
    sent_to: tuple[str, ...]


_SENT_TO = ("delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "x-rcpt-to", "to", "cc", "apparently-to")
_MESSAGE_ID = re.compile(r"(?<![\w.])(?:x-)?(?:original[- ])?message-id:\s{0,80}<([^<>\s]{1,900})>", re.IGNORECASE)
_NAMES_ORIGINAL = (*dsn.TYPES, "message/disposition-notification", "message/feedback-report")
_TO = re.compile(r"^[> \t]*+to:[ \t]*+(.*+(?:\n[> ]{0,80}[ \t].*+){0,5})", re.IGNORECASE | re.MULTILINE)
_FIELDS = re.compile(r"^[> \t]*+[A-Za-z][A-Za-z0-9-]*+:.*+(?:\n[ \t].*+)*+$", re.MULTILINE)
MAX_EXPLAINED = 100  # recipients for whom the notice is searched, too
_ANSWER = re.compile(
    r"\A(?:re|aw|sv|fwd?|wg|tr|rv|antw|odp|res|回复|答复|回覆|转发)\s*+(?:\[\d{1,9}\])?:", re.IGNORECASE
)


def read(octets: bytes) -> Report:
    """What this mail reports. Never raises."""
    return _read(lenient_mime.read(octets))


def _read(whole: lenient_mime.Part) -> Report:
    original = _original(whole)
    values = [value for name in _SENT_TO for value in whole.all(name)]
    sent_to = tuple(dict.fromkeys(address for value in values for address in recipient_report.addresses(value)))
    notice, rest = _texts(whole)
    seen = _Seen(whole, original, notice, rest, sent_to)
    message_id = _message_id(whole, original, rest, notice)
    if complained := arf.complaint(whole, original):
        return Report(ReportKind.ARF, complained.complainants, message_id, complained.feedback, sent_to)
    if failures := dsn.failures(dsn.status_parts(whole)):
        return Report(ReportKind.DSN, tuple(_told(failures, seen)), message_id, "", sent_to)
    if told := ses_notification.read(f"{notice}\n{rest}"):
        kind = ReportKind.ARF if told.feedback else ReportKind.TEXT
        return Report(kind, told.failures, told.message_id or message_id, told.feedback, sent_to)
    likely = _likely(seen)
    if likely and (failures := _from_text(seen)):
        # Where little speaks for a bounce, the words have to.
        if likely is Likely.SURELY or any(one.code or one.verdict.category != "undetermined" for one in failures):
            return Report(ReportKind.TEXT, tuple(failures), message_id, "", sent_to)
    elif likely is Likely.SURELY:
        # A gateway may have wrapped the report.
        if original and (inner := _read(original)).kind is ReportKind.DSN:
            return inner._replace(addresses=sent_to)
        if (failures := _from_original(seen)) or not auto_reply.is_auto_reply(whole):
            return Report(ReportKind.TEXT, tuple(failures), message_id, "", sent_to)
    kind = ReportKind.AUTO_REPLY if auto_reply.is_auto_reply(whole) else ReportKind.NONE
    return Report(kind, (), message_id, "", sent_to)


def _original(whole: lenient_mime.Part) -> lenient_mime.Part | None:
    """The returned mail or its fields, if a part has it."""
    for part in whole.walk():
        if part is whole:
            continue
        if part.type.startswith("message/") and part.children:
            return part.children[0]
        if part.type in ("text/rfc822-headers", "message/global-headers", "text/rfc822", "message/rfc822-headers"):
            return lenient_mime.Part(*lenient_mime.fields(part.octets.replace(b"\r\n", b"\n").lstrip(b"\n")))
    return None


def _message_id(whole: lenient_mime.Part, original: lenient_mime.Part | None, *texts: str) -> str:
    """The returned mail's: its own field, what a text says of it, else what the report says that it answers."""
    told = original.get("message-id") if original else ""
    if not told:
        status = (part.text[:20_000] for part in whole.walk() if part.type in _NAMES_ORIGINAL)
        matches = (_MESSAGE_ID.search(each, 0, 200_000) for each in (*texts, *status))
        told = next((match[1] for match in matches if match), "") or whole.get("in-reply-to")
    return told.strip().partition(">")[0].strip("< ")[:1000]


def _texts(whole: lenient_mime.Part) -> tuple[str, str]:
    """The notice, and the text from where the returned mail begins."""
    leaves = [part for part in _own(whole) if not part.children and part.type.startswith(("text/", "multipart/"))]
    plain = [part for part in leaves if part.type != "text/html" and part.text.strip()]
    if not any("@" in part.text for part in plain):
        plain = leaves
    return prose_report.notice("\n\n".join(part.text for part in plain)[: lenient_mime.MAX_TEXT])


def _own(part: lenient_mime.Part) -> list[lenient_mime.Part]:
    """The parts outside of any returned message."""
    if part.type.startswith("message/") or part.type in ("text/rfc822-headers", "text/rfc822"):
        return []
    return [part, *(below for child in part.children for below in _own(child))]


def _likely(seen: _Seen) -> Likely:
    """How likely the mail is a bounce: something in the header section must speak for it, and the notice, too."""
    whole, subject = seen.whole, seen.whole.get("subject")[:500]
    if whole.get("x-failed-recipients"):
        return Likely.SURELY
    is_daemon = bool(word_lists.pattern("bounce", "daemon").search(whole.get("from")[:500]))
    if not is_daemon and (_ANSWER.match(subject.lstrip()) or auto_reply.is_auto_reply(whole, by_subject_only=True)):
        return Likely.NOT
    is_report = whole.parameters.get("report-type", "").lower() == "delivery-status"
    is_null = whole.get("return-path").strip() == "<>" or not whole.get("from").strip()
    is_subject = bool(word_lists.pattern("bounce", "subject").search(subject))
    is_said = bool(word_lists.pattern("bounce", "phrase").search(seen.notice[:20_000]))
    is_sure = bool(word_lists.pattern("bounce", "subject_sure").search(subject))
    # A mailing, whatever it writes of bounces; but some servers return a list's own fields with its mail.
    is_mailing = whole.get("list-unsubscribe") or (whole.get("list-id") and not (is_sure and is_said))
    if is_mailing and not is_daemon and not is_report:
        return Likely.NOT
    if (
        is_report
        or (is_sure and is_said)
        or (is_daemon and (is_said or is_subject))
        or (is_null and is_subject and is_said)
    ):
        return Likely.SURELY
    return Likely.PERHAPS if is_said and (is_null or is_subject) else Likely.NOT


def _from_text(seen: _Seen) -> list[Failure]:
    """Whom the notice names; what X-Failed-Recipients lists comes first."""
    senders = recipient_report.addresses(" ".join([seen.whole.get("from"), seen.whole.get("return-path")]))
    others, never = (frozenset(each.lower() for each in addresses) for addresses in (seen.sent_to, senders))
    everything = f"{seen.notice}\n{_FIELDS.sub('', seen.rest)}"
    named: list[prose_report.Named] = []
    if failed := dict.fromkeys(recipient_report.addresses(" ".join(seen.whole.all("x-failed-recipients")))):
        about = {
            one.address.lower(): one
            for one in prose_report.recipients(seen.notice, frozenset(), prose_report.Grade.MENTIONED)
        }
        named = [about.get(address.lower(), prose_report.Named(address, seen.notice[:2000], "")) for address in failed]
    named = (
        named
        or prose_report.recipients(seen.notice, others, never=never)
        or prose_report.recipients(everything, others, never=never)
        or prose_report.recipients(seen.whole.get("subject"), others, never=never)
        or prose_report.recipients(seen.notice, others, prose_report.Grade.MENTIONED, never)
        or prose_report.recipients(seen.whole.get("subject"), others, prose_report.Grade.MENTIONED, never)
    )
    if not named and (domain := next((address.partition("@")[2] for address in senders), "")):
        named = prose_report.bare_names(seen.notice, domain)
    return _judged(named, seen)


def _from_original(seen: _Seen) -> list[Failure]:
    """The recipient of the returned mail, if it has but one: the last resort."""
    values = list(seen.original.all("to")) if seen.original else [match[1] for match in _TO.finditer(seen.rest)][:1]
    named = list(dict.fromkeys(recipient_report.addresses(" ".join(values))))
    # Mail to a list comes back to the list's own domain, and its To is no recipient.
    senders = {address.partition("@")[2].lower() for address in seen.sent_to}
    if len(named) != 1 or named[0].partition("@")[2].lower() in senders:
        return []
    return _judged([prose_report.Named(named[0], seen.notice[:2000], "")], seen)


def _judged(named: list[prose_report.Named], seen: _Seen) -> list[Failure]:
    action, subject = _action(seen), seen.whole.get("subject")[:300]
    phase = (
        recipient_report.phase_in(seen.notice) if len(named) == 1 else recipient_report.transcript_phase(seen.notice)
    )
    return [
        recipient_report.judge(one.address, action, "", one.words, (one.context, subject), phase=phase) for one in named
    ]


def _action(seen: _Seen) -> str:
    if word_lists.pattern("bounce", "given_up").search(seen.notice):
        return recipient_report.FAILED
    is_delayed = word_lists.pattern("bounce", "delayed").search(seen.notice)
    is_delayed = is_delayed or word_lists.pattern("bounce", "delayed_subject").search(seen.whole.get("subject")[:500])
    return recipient_report.DELAYED if is_delayed else recipient_report.FAILED


def _told(failures: list[Failure], seen: _Seen) -> list[Failure]:
    """With what the notice says: the phase, and all of it where the status part gives no diagnostic."""
    of_all = recipient_report.phase_in(seen.notice)
    if (all(one.code for one in failures) and not of_all) or len(failures) > MAX_EXPLAINED:
        return failures
    about = {
        one.address.lower(): one.words
        for one in prose_report.recipients(seen.notice, frozenset(), prose_report.Grade.MENTIONED)
    }
    alone = seen.notice[:2000] if len(failures) == 1 else ""
    if len(failures) > 1:
        of_all = recipient_report.transcript_phase(seen.notice)
    told = []
    for one in failures:
        words = about.get(one.recipient.lower(), "")
        phase = recipient_report.phase_in(words) or of_all
        if not one.code or (phase and one.verdict.kind is BounceKind.HARD):
            diagnostic = one.text if one.code else f"{one.text}\n{words}".strip()
            context = () if one.code else (alone,)
            one = recipient_report.judge(
                one.recipient, one.action, one.status, diagnostic, context, one.remote, one.original, phase
            )
        told.append(one)
    return told
