"""Read complaints: somebody pressed "this is spam", and the receiving side reports it.

In: a mail's parts.  Out: the kind of feedback and who complained, as far as it was not redacted.  RFC 5965, RFC 6650,
RFC 6591; Microsoft's form, which is a bare copy of the mail with one field added; X-ARF, and SpamCop's form.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from relay.bounce import lenient_mime, recipient_report
from relay.bounce.classify import BounceKind, Verdict
from relay.bounce.recipient_report import RecipientReport

# The field in which Microsoft's Junk Mail Reporting names who complained.
MICROSOFT_FIELD = "x-hmxmroriginalrecipient"
# What a person asked for by it: no more of this. RFC 6650 §5.3 and the registry of feedback types.
UNWANTED_FEEDBACK = frozenset(
    {"abuse", "fraud", "opt-out", "opt-out-list", "opt-out-all", "complaint", "unsubscribe", "miscategorized"}
)
_REDACTED = ("redacted", "undisclosed", "unknown", "removed", "suppressed")
_RECIPIENT_FIELDS = (
    "original-rcpt-to",
    "removal-recipient",
    "redacted-address",
    "original-recipient",
    "final-recipient",
)
# X-ARF 0.2's fields, and what SpamCop writes; neither says who complained, which their readers are not to learn.
_XARF = ("report-type:", "reported-from:")
_SPAMCOP = re.compile(r"^\[ ?SpamCop V", re.MULTILINE)
_ORIGINAL_FIELDS = (
    MICROSOFT_FIELD,
    "x-original-to",
    "delivered-to",
    "envelope-to",
    "x-envelope-to",
    "to",
    "apparently-to",
)


class Complaint(NamedTuple):
    """`feedback`: the type in lower case; `complainants`: one RecipientReport each, without action and code."""

    feedback: str
    complainants: tuple[RecipientReport, ...]


def read_complaint(mail: lenient_mime.LenientPart, original: lenient_mime.LenientPart | None) -> Complaint | None:
    """The complaint that this mail is, or None."""
    reports = [part for part in mail.walk() if part.type == "message/feedback-report"]
    is_bare = (original is not None and bool(original.get(MICROSOFT_FIELD))) or bool(mail.get(MICROSOFT_FIELD))
    if not reports and not is_bare and mail.parameters.get("report-type", "").lower() != "feedback-report":
        return Complaint("abuse", ()) if _is_spam_report(mail) else None
    report_fields: dict[str, list[str]] = {}
    for part in reports:
        for block in part.text.strip().split("\n\n"):
            for name, value in lenient_mime.parse_fields(block.encode("utf-8", "replace"))[0]:
                report_fields.setdefault(name, []).append(value)
    feedback = report_fields.get("feedback-type", ["abuse"])[0].split(";")[0].strip().lower() or "abuse"
    addresses = [
        address
        for name in _RECIPIENT_FIELDS
        for value in report_fields.get(name, ())
        if (address := _complainant(value))
    ]
    if not addresses:
        addresses = _original_recipients(original or mail)
    return Complaint(feedback, complaint_reports(feedback, addresses))


def complaint_reports(feedback: str, addresses: Iterable[str]) -> tuple[RecipientReport, ...]:
    """One RecipientReport for each address, once, with the verdict on feedback of that type."""
    verdict = Verdict(BounceKind.NONE, "complaint", f"arf.{feedback}"[:60], feedback in UNWANTED_FEEDBACK, False, "")
    unique = {address.lower(): address for address in addresses}
    return tuple(RecipientReport(a, "", "", 0, "", "", "", verdict) for a in unique.values())


def _is_spam_report(mail: lenient_mime.LenientPart) -> bool:
    """True for a report that follows X-ARF or SpamCop's form; X-ARF knows other abuse than mail."""
    texts = [part.text[:20_000] for part in mail.children or [mail] if part.type.startswith("text/")]
    if "spamcop" in mail.get("from").lower():
        return any(_SPAMCOP.search(each) for each in texts)
    return bool(mail.get("x-xarf")) and any(_is_xarf(each.lower()) for each in texts)


def _is_xarf(text: str) -> bool:
    return "spam" in text and all(text.startswith(field) or f"\n{field}" in text for field in _XARF)


def _original_recipients(original: lenient_mime.LenientPart) -> list[str]:
    for name in _ORIGINAL_FIELDS:
        addresses = [
            a
            for value in original.all_values(name)
            for a in recipient_report.find_addresses(value)
            if not _is_redacted(a)
        ]
        if addresses:
            # A To with several does not tell which of them complained.
            return addresses if len(addresses) == 1 or name == MICROSOFT_FIELD else []
    return []


def _complainant(value: str) -> str:
    addresses = recipient_report.find_addresses(value)
    return addresses[0] if addresses and not _is_redacted(addresses[0]) else ""


def _is_redacted(address: str) -> bool:
    local = address.partition("@")[0].lower()
    return any(word in local for word in _REDACTED) or not local.strip("x*-_.")
