"""Write a delivery status notification: a part for people, one for programs, and the mail that it is about.

In: the mail that it is about, and the status of some of its recipients.  Out: octets, CRLF-ended.
RFC 3464, RFC 3461 §6, RFC 6522; RFC 6533 where the mail was internationalised.
"""

import quopri
import re
from collections.abc import Sequence
from datetime import datetime
from email.utils import format_datetime
from typing import NamedTuple

FAILED, DELAYED, RELAYED = "failed", "delayed", "relayed"
_SUBJECTS = {
    FAILED: "Undelivered mail: returned to its sender",
    DELAYED: "Delayed mail: still being tried",
    RELAYED: "Mail handed on: no further notice will come",
}
_SENTENCES = {
    FAILED: "Your message could not be delivered to the recipients below, and will not be tried again.",
    DELAYED: "Your message has not been delivered to the recipients below yet. It is still being tried:\n"
    "you need not send it again.",
    RELAYED: "Your message was handed to a mail server for the recipients below. That server sends no\n"
    "confirmations, so this is the last that you will hear of it if all goes well.",
}
_MAX_FULL_OCTETS = 256 << 10  # octets of a message that is returned whole, where that is asked for
_MAX_LINE = 998  # RFC 5322 §2.1.1
_PRIVATE = re.compile(rb"(?im)^(?:resent-)?bcc[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*")
_XTEXT = re.compile(r"\+([0-9A-F]{2})")
_BARE_END = re.compile(rb"[\r\n]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class RecipientStatus(NamedTuple):
    """The status of one recipient. Without a `remote` the reply is ours, and says what happened."""

    recipient: str
    orcpt: str  # as the client gave it; empty where it did not
    action: str
    status: str
    remote: str  # the server that gave the reply; empty where none did
    reply: str  # code, status and text
    at: datetime  # of the last attempt
    retried_until: datetime | None = None


class OriginalMail(NamedTuple):
    """The mail that the DSN is about. `head` is its header section, `whole` all of it, if kept and requested."""

    reverse_path: str
    message_id: str  # with angle brackets; empty where unknown
    subject: str
    accepted_at: datetime
    envid: str
    is_international: bool  # it came with SMTPUTF8
    head: bytes
    whole: bytes | None


def compose(
    notice_id: str, hostname: str, now: datetime, original: OriginalMail, recipients: Sequence[RecipientStatus]
) -> bytes:
    """The DSN, to be sent with a null reverse-path."""
    action = next(one for one in (FAILED, DELAYED, RELAYED) if any(recipient.action == one for recipient in recipients))
    boundary = f"=_{notice_id}"
    fields = [
        f"From: Mail Delivery System <MAILER-DAEMON@{_one_line(hostname)}>",
        f"To: <{_one_line(original.reverse_path)}>",
        f"Subject: {_SUBJECTS[action]}",
        f"Date: {format_datetime(now)}",
        f"Message-ID: <{notice_id}@{_one_line(hostname)}>",
        "Auto-Submitted: auto-replied",  # RFC 3834 §5.1
        *_reply_fields(original.message_id),
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="{boundary}"',
    ]
    parts = (
        _text_part(hostname, original, recipients),
        _delivery_status_part(hostname, original, recipients),
        _returned_part(original, action),
    )
    delimiter = f"\r\n--{boundary}\r\n".encode("ascii")
    octets = "\r\n".join([*fields, "", "This is a report in MIME format."]).encode("utf-8", "replace") + b"\r\n"
    for part in parts:
        octets += delimiter + part
    return octets + f"\r\n--{boundary}--\r\n".encode("ascii")


def _reply_fields(message_id: str) -> list[str]:
    if not re.fullmatch(r"<[\x21-\x7e]{1,900}>", message_id):
        return []
    return [f"In-Reply-To: {message_id}", f"References: {message_id}"]


def _text_part(hostname: str, original: OriginalMail, recipients: Sequence[RecipientStatus]) -> bytes:
    lines = [f"This is the mail system at {_one_line(hostname)}.", ""]
    for action, sentence in _SENTENCES.items():
        recipients_of_action = [recipient for recipient in recipients if recipient.action == action]
        if recipients_of_action:
            lines += [sentence, ""]
        for recipient in recipients_of_action:
            who = f"The server {_one_line(recipient.remote)} said:" if recipient.remote else "What happened:"
            lines += [f"<{_one_line(recipient.recipient)}>", f"    {who}", f"    {_one_line(recipient.reply)}"]
            if recipient.retried_until:
                lines.append(f"    It will be tried until {format_datetime(recipient.retried_until)}.")
            lines.append("")
    lines += [
        "The message:",
        f"    Subject: {_one_line(original.subject) or '(none)'}",
        f"    Accepted: {format_datetime(original.accepted_at)}",
        f"    Message-ID: {_one_line(original.message_id) or '(none)'}",
        "",
    ]
    text = quopri.encodestring("\n".join(lines).encode("utf-8", "replace")).replace(b"\n", b"\r\n")
    return b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + text


def _delivery_status_part(hostname: str, original: OriginalMail, recipients: Sequence[RecipientStatus]) -> bytes:
    is_global = original.is_international
    blocks = [[f"Reporting-MTA: dns; {hostname}", f"Arrival-Date: {format_datetime(original.accepted_at)}"]]
    if original.envid:
        blocks[0].insert(0, f"Original-Envelope-Id: {_ascii_or_utf8(_decode_xtext(original.envid), is_global)}")
    for recipient in recipients:
        block = [f"Original-Recipient: {_original_recipient(recipient.orcpt, is_global)}"] if recipient.orcpt else []
        block += [
            f"Final-Recipient: {_final_recipient(recipient.recipient, is_global)}",
            f"Action: {recipient.action}",
            f"Status: {recipient.status}",
        ]
        if recipient.remote:
            block.append(f"Remote-MTA: dns; {recipient.remote}")
        kind = "smtp" if recipient.remote else "x-waypost"
        block.append(f"Diagnostic-Code: {kind}; {_ascii_or_utf8(_one_line(recipient.reply), is_global)}")
        block.append(f"Last-Attempt-Date: {format_datetime(recipient.at)}")
        if recipient.retried_until:
            block.append(f"Will-Retry-Until: {format_datetime(recipient.retried_until)}")
        blocks.append(block)
    text = "\r\n".join("\r\n".join([*map(_fold, block), ""]) for block in blocks)
    # RFC 6533 §4: the same fields, in UTF-8.
    kind, coding = ("global-delivery-status", "8bit") if is_global else ("delivery-status", "7bit")
    head = f"Content-Type: message/{kind}\r\nContent-Transfer-Encoding: {coding}\r\n\r\n"
    return (head + text).encode("utf-8" if is_global else "ascii", "replace")


def _returned_part(original: OriginalMail, action: str) -> bytes:
    whole = original.whole
    if action == FAILED and whole and len(whole) <= _MAX_FULL_OCTETS and _is_text(whole):
        kind = "global" if original.is_international and not original.head.isascii() else "rfc822"
        coding = "7bit" if whole.isascii() else "8bit"
        octets = _PRIVATE.sub(b"", original.head) + whole[len(original.head) :]
        return f"Content-Type: message/{kind}\r\nContent-Transfer-Encoding: {coding}\r\n\r\n".encode("ascii") + octets
    head = _PRIVATE.sub(b"", original.head)
    if head.isascii() and _is_text(head):
        return b"Content-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: 7bit\r\n\r\n" + head
    kind = "message/global-headers" if original.is_international else "text/rfc822-headers"
    # RFC 6522 §4: broken headers may be encoded.
    encoded = quopri.encodestring(head.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    return f"Content-Type: {kind}\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n".encode("ascii") + encoded


def _is_text(octets: bytes) -> bool:
    lines = octets.split(b"\r\n")
    return b"\0" not in octets and all(len(line) <= _MAX_LINE and not _BARE_END.search(line) for line in lines)


def _one_line(text: str) -> str:
    return _CONTROL.sub(" ", text)


def _original_recipient(orcpt: str, is_global: bool) -> str:
    """RFC 3461 §4.2: the address type stays, the xtext is decoded."""
    kind, _, text = orcpt.partition(";")
    return f"{kind}; {_ascii_or_utf8(_decode_xtext(text) if kind.lower() == 'rfc822' else text, is_global)}"


def _final_recipient(recipient: str, is_global: bool) -> str:
    if "@" not in recipient:  # the address itself is not kept (`[privacy] mode`)
        return f"x-pseudonym; {recipient}"
    if recipient.isascii():
        return f"rfc822; {recipient}"
    if is_global:
        return f"utf-8; {recipient}"
    # RFC 6533 §3: utf-8-addr-xtext
    return "utf-8; " + "".join(c if c.isascii() else f"\\x{{{ord(c):X}}}" for c in recipient)


def _decode_xtext(text: str) -> str:
    octets = _XTEXT.sub(lambda found: chr(int(found[1], 16)), text)
    return _CONTROL.sub("?", octets)


def _ascii_or_utf8(text: str, is_global: bool) -> str:
    return text if is_global else text.encode("ascii", "replace").decode("ascii")


def _fold(field: str) -> str:
    """A field in lines of at most 78 characters where words allow it, 900 octets where they do not.

    The result is one field, whatever its value holds: most of it is a stranger's text.
    """
    lines = [""]
    for word in filter(None, _one_line(field).split(" ")):  # a line of blanks alone would end the block for some
        for at in range(0, len(word), 200):
            piece = word[at : at + 200]
            if lines[-1] and len(lines[-1]) + 1 + len(piece) > 78:
                lines.append(f" {piece}")
            else:
                lines[-1] += f" {piece}" if lines[-1] else piece
    return "\r\n".join(lines)
