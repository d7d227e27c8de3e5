"""What a mail needs, against what the upstream offers: the parameters of MAIL and RCPT, and what cannot go.

RFC 1870 (SIZE), 3461 (DSN), 6152 (8BITMIME: converted where it is missing), 6531 (SMTPUTF8: asked for only
where it is needed; a domain goes out in A-labels where the upstream has none, RFC 5890). What is refused here is of
our own making, says so, and belongs to the phase of MAIL.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from relay import address
from relay.delivery.smtp.protocol import Wire
from relay.envelope import Login, Recipient
from relay.mime import fields, parts
from relay.reply import Reply
from relay.rewrite import mailboxes, seven_bit_conversion


class LeaseLostError(Exception):
    """Another worker has the deliveries now: nothing of this mail may be sent."""


class Outgoing(NamedTuple):
    """The envelope of one transaction and, when they are asked for, its octets: CRLF-ended lines, not dot-stuffed.

    A copy is made when there is a connection for it: a thousand that wait are a thousand closures, not copies.
    `render(True)` makes one whose bodies are of 7 bits; it raises seven.NotConvertible.
    """

    reverse_path: str
    recipients: Sequence[Recipient]
    render: Callable[[bool], Awaitable[bytes]]
    body: str = ""
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""
    login: Login | None = None  # the client's own credentials, used instead of the upstream's configured ones
    sender: str = ""  # the app's own reverse-path where ours stands in its place: it chooses the upstream
    begin: Callable[[], Awaitable[None]] | None = None  # called before the first octet; raises LeaseLostError


class Fitted(NamedTuple):
    """The mail as this upstream takes it. `refused` has a reply for each recipient that cannot be served."""

    octets: bytes
    mail: bytes  # the whole command, CRLF-ended
    rcpts: list[bytes]
    refused: list[Reply | None]


async def fit(wire: Wire, mail: Outgoing) -> Fitted:
    """Makes the octets and the commands for that connection."""
    has_8bit = wire.offers("8bitmime")
    try:
        octets = await mail.render(not has_8bit)
    except seven_bit_conversion.NotConvertibleError as reason:
        text = f"not sent: the upstream takes 7 bits only and the message cannot be converted ({reason})"
        return _nobody(mail, Reply(554, "5.6.3", text))
    if not _has_whole_lines(octets):
        # The edge lets none in, so one of ours came out wrong: temporary, and still ours.
        return _nobody(mail, Reply(451, "4.3.0", "not sent: a line of the copy does not end in CRLF"))
    limit = wire.parameter("size").strip()
    if limit.isdecimal() and 0 < int(limit) < len(octets):
        text = f"not sent: the message has {len(octets)} octets, the upstream takes {int(limit)}"
        return _nobody(mail, Reply(552, "5.3.4", text))
    has_utf8 = wire.offers("smtputf8")
    is_utf8_header = mail.smtputf8 and _has_utf8_fields(octets)
    needs_utf8 = is_utf8_header or not _is_ascii(mail)
    # RFC 6531 §3.2: neither such an address nor such a header can be written for a server without it.
    reverse_path = _writable(mail.reverse_path, has_utf8)
    if reverse_path is None:
        return _nobody(mail, _no_utf8("this sender's address"))
    written = octets if has_utf8 or not is_utf8_header else _with_ascii_header(octets)
    if written is None:
        text = "not sent: the upstream takes no header in UTF-8 (SMTPUTF8)"
        return _nobody(mail, Reply(554, "5.6.9", text))
    octets = written
    paths = [_writable(recipient.mailbox, has_utf8) for recipient in mail.recipients]
    refused = [_no_utf8("this address") if mailbox is None else None for mailbox in paths]
    words = [f"MAIL FROM:<{reverse_path}>"]
    words += [f"SIZE={len(octets)}"] if wire.offers("size") else []
    words += ["BODY=8BITMIME"] if has_8bit and (mail.body == "8BITMIME" or not octets.isascii()) else []
    words += ["SMTPUTF8"] if needs_utf8 and has_utf8 else []
    if has_dsn := wire.offers("dsn"):
        words += [f"RET={mail.ret}"] if mail.ret else []
        words += [f"ENVID={mail.envid}"] if mail.envid else []
    rcpts = [
        _rcpt(recipient, mailbox or recipient.mailbox, has_dsn, has_utf8)
        for recipient, mailbox in zip(mail.recipients, paths, strict=True)
    ]
    return Fitted(octets, _command(words), rcpts, refused)


def _has_whole_lines(octets: bytes) -> bool:
    """False for a CR or LF on its own, which could end the message early for a lenient server."""
    ends = octets.count(b"\r\n")
    return octets.count(b"\r") == ends == octets.count(b"\n")


def _nobody(mail: Outgoing, reply: Reply) -> Fitted:
    return Fitted(b"", b"", [], [reply] * len(mail.recipients))


def _no_utf8(what: str) -> Reply:
    return Reply(553, "5.6.7", f"not sent: the upstream does not support {what} (SMTPUTF8)")


def _writable(mailbox: str, has_utf8: bool) -> str | None:
    """The mailbox as that server takes it; None where it cannot be written for it."""
    return mailbox if has_utf8 else address.with_ascii_domain(address.Mailbox(mailbox))


def _rcpt(recipient: Recipient, mailbox: str, has_dsn: bool, has_utf8: bool) -> bytes:
    words = [f"RCPT TO:<{mailbox}>"]
    if has_dsn:
        words += [f"NOTIFY={recipient.notify}"] if recipient.notify else []
        words += [f"ORCPT={recipient.orcpt if has_utf8 else _embedded(recipient.orcpt)}"] if recipient.orcpt else []
    return _command(words)


def _embedded(orcpt: str) -> str:
    r"""RFC 6533 §3: what is not ASCII as \x{HEX}."""
    return "".join(c if c.isascii() else rf"\x{{{ord(c):X}}}" for c in orcpt)


def _command(words: list[str]) -> bytes:
    line = " ".join(words).encode("utf-8")
    if any(octet < 0x20 or octet == 0x7F for octet in line):  # the edge lets none in; a second command never goes out
        raise ValueError("a control character in the envelope")
    return line + b"\r\n"


def _is_ascii(mail: Outgoing) -> bool:
    return mail.reverse_path.isascii() and all(recipient.mailbox.isascii() for recipient in mail.recipients)


def _with_ascii_header(octets: bytes) -> bytes | None:
    """The message for a server without SMTPUTF8, where nothing but domains in its header is beyond ASCII.

    What is signed goes as it came: a signature that does not verify does more harm than a domain in UTF-8.
    """
    written = mailboxes.with_ascii_domains(octets)
    if written is None or _has_utf8_fields(written):
        return None
    return octets if fields.read(octets, 0, len(octets)).fields_named(b"dkim-signature") else written


def _has_utf8_fields(octets: bytes) -> bool:
    """RFC 6532 §3: in the header, or in that of a part."""
    if octets.isascii():
        return False
    return any(not octets[part.start : part.body].isascii() for part in parts.walk_parts(octets))
