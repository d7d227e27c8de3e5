"""Read what comes back later: bounces in a standard form or none, complaints, automatic replies.

In: the octets of a mail.  Out: a Report that says of what kind it is and of whom it speaks, each with a verdict.
RFC 3464 and 6533 (`dsn`), RFC 5965 (`arf`), RFC 3834 (`auto_reply`), and texts (`text`).

Pure. Any octets get an answer; work is bounded by MAX_OCTETS and MAX_DEPTH of `mail`.
"""

import re
from enum import StrEnum
from typing import NamedTuple

from relay.bounce import arf, auto_reply, dsn, failure, mail, text, wording
from relay.bounce.failure import Failure


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


_SENT_TO = ("delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "x-rcpt-to", "to", "cc", "apparently-to")
_MESSAGE_ID = re.compile(r"^[> \t]*message-id:\s*<([^<>\s]{1,900})>", re.IGNORECASE | re.MULTILINE)


def read(octets: bytes) -> Report:
    """What this mail reports. Never raises."""
    whole = mail.read(octets)
    original = _original(whole)
    sent_to = tuple(
        dict.fromkeys(a for name in _SENT_TO for value in whole.all(name) for a in failure.addresses(value))
    )
    own, rest = _texts(whole)
    message_id = _message_id(original, rest or own)
    if complained := arf.complaint(whole, original):
        return Report(ReportKind.ARF, complained.complainants, message_id, complained.feedback, sent_to)
    if failures := dsn.failures(dsn.status_parts(whole)):
        return Report(ReportKind.DSN, tuple(failures), message_id, "", sent_to)
    if _is_bounce(whole) and (failures := _from_text(whole, own, sent_to)):
        return Report(ReportKind.TEXT, tuple(failures), message_id, "", sent_to)
    kind = ReportKind.AUTO_REPLY if auto_reply.is_auto_reply(whole) else ReportKind.NONE
    return Report(kind, (), message_id, "", sent_to)


def _original(whole: mail.Part) -> mail.Part | None:
    """The returned mail or its fields, if a part has it."""
    for part in whole.walk():
        if part is whole:
            continue
        if part.type.startswith("message/") and part.children:
            return part.children[0]
        if part.type in ("text/rfc822-headers", "message/global-headers"):
            return mail.Part(*mail.fields(part.octets.replace(b"\r\n", b"\n").lstrip(b"\n")))
    return None


def _message_id(original: mail.Part | None, texts: str) -> str:
    id_ = original.get("message-id").strip().strip("<>") if original else ""
    match = None if id_ else _MESSAGE_ID.search(texts)
    return match[1] if match else id_


def _texts(whole: mail.Part) -> tuple[str, str]:
    """The notice, and the text behind it."""
    leaves = [part for part in _own(whole) if not part.children and part.type.startswith("text/")]
    plain = [part for part in leaves if part.type == "text/plain" and part.text.strip()] or leaves
    return text.notice("\n".join(part.text for part in plain)[: mail.MAX_TEXT])


def _own(part: mail.Part) -> list[mail.Part]:
    if part.type.startswith("message/") or part.type == "text/rfc822-headers":
        return []
    return [part, *(below for child in part.children for below in _own(child))]


def _is_bounce(whole: mail.Part) -> bool:
    if whole.get("x-failed-recipients"):
        return True
    return bool(
        wording.pattern("bounce", "sender").search(whole.get("from"))
        or wording.pattern("bounce", "subject").search(whole.get("subject"))
    )


def _from_text(whole: mail.Part, notice: str, sent_to: tuple[str, ...]) -> list[Failure]:
    others = frozenset(a.lower() for a in (*sent_to, *failure.addresses(whole.get("from"))))
    named = text.recipients(notice, others)
    action = failure.DELAYED if wording.pattern("bounce", "delayed").search(notice) else failure.FAILED
    return [failure.judge(one.address, action, "", one.words) for one in named]
