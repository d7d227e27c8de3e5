"""What a mail needs, against what the upstream offers: the parameters of MAIL and RCPT, and what cannot go.

RFC 1870 (SIZE), 3461 (DSN), 6152 (8BITMIME: converted where it is missing), 6531 (SMTPUTF8: asked for only
where it is needed; a domain goes out in A-labels where the upstream has none, RFC 5890). A refusal from here
is our own, says so, and has the phase MAIL.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from relay import address
from relay.delivery.smtp.protocol import SmtpClientProtocol
from relay.envelope import Login, Recipient
from relay.mime import fields, parts
from relay.reply import Reply
from relay.rewrite import mailboxes, seven_bit_conversion

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


class LeaseLostError(Exception):
    """Another worker has the deliveries now: nothing of this mail may be sent."""


class OutgoingMail(NamedTuple):
    """The envelope of one transaction and, when they are asked for, its octets: CRLF-ended lines, not dot-stuffed.

    `render` is called when there is a connection: a thousand mails that wait need no copies in memory.
    `render(True)` makes a copy whose bodies are of 7 bits; it raises NotConvertibleError. Both
    raise BadLineEndError.
    """

    reverse_path: str
    recipients: Sequence[Recipient]
    render: Callable[[bool], Awaitable[bytes]]
    body: str = ""
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""
    login: Login | None = None  # the client's own credentials, used instead of the upstream's configured ones
    sender: str = ""  # the app's reverse-path, if ours replaces it: it decides the upstream
    before_sending: Callable[[], Awaitable[None]] | None = None  # called before the first octet; raises LeaseLostError


class BadLineEndError(Exception):
    """A copy has a line that does not end in CRLF."""


class PreparedMail(NamedTuple):
    """The mail as this upstream accepts it. `refused` has a reply for each recipient that it cannot be sent to."""

    octets: bytes
    mail: bytes  # the whole command, CRLF-ended
    rcpts: list[bytes]
    refused: list[Reply | None]


async def prepare(client: SmtpClientProtocol, mail: OutgoingMail) -> PreparedMail:
    """Makes the octets and the commands for that connection."""
    has_8bit = client.has_8bit
    try:
        octets = await mail.render(not has_8bit)
    except seven_bit_conversion.NotConvertibleError as reason:
        text = f"not sent: the upstream takes 7 bits only and the message cannot be converted ({reason})"
        return _refuse_all(mail, Reply(554, "5.6.3", text))
    except BadLineEndError:
        # It could end the message early for a lenient server. The edge accepts none, so this is an error of ours:
        # temporary.
        return _refuse_all(mail, Reply(451, "4.3.0", "not sent: a line of the copy does not end in CRLF"))
    if 0 < client.max_size < len(octets):
        text = f"not sent: the message has {len(octets)} octets, the upstream takes {client.max_size}"
        return _refuse_all(mail, Reply(552, "5.3.4", text))
    has_utf8 = client.has_utf8
    is_utf8_header = mail.smtputf8 and _has_utf8_fields(octets)
    needs_utf8 = is_utf8_header or not _is_ascii(mail)
    # RFC 6531 §3.2: neither such an address nor such a header can be written for a server without it.
    reverse_path = _encode_mailbox(mail.reverse_path, has_utf8)
    if reverse_path is None:
        return _refuse_all(mail, _no_utf8("this sender's address"))
    encoded_octets = octets if has_utf8 or not is_utf8_header else _with_ascii_header(octets)
    if encoded_octets is None:
        text = "not sent: the upstream takes no header in UTF-8 (SMTPUTF8)"
        return _refuse_all(mail, Reply(554, "5.6.9", text))
    octets = encoded_octets
    paths = [_encode_mailbox(recipient.mailbox, has_utf8) for recipient in mail.recipients]
    refused = [_no_utf8("this address") if mailbox is None else None for mailbox in paths]
    command = f"MAIL FROM:<{reverse_path}>"
    command += f" SIZE={len(octets)}" if client.has_size else ""
    command += " BODY=8BITMIME" if has_8bit and (mail.body == "8BITMIME" or not octets.isascii()) else ""
    command += " SMTPUTF8" if needs_utf8 and has_utf8 else ""
    if client.has_dsn:
        command += f" RET={mail.ret}" if mail.ret else ""
        command += f" ENVID={mail.envid}" if mail.envid else ""
    rcpts = [
        _rcpt(recipient, mailbox or recipient.mailbox, client.has_dsn, has_utf8)
        for recipient, mailbox in zip(mail.recipients, paths, strict=True)
    ]
    return PreparedMail(octets, _encode_command(command), rcpts, refused)


def _refuse_all(mail: OutgoingMail, reply: Reply) -> PreparedMail:
    return PreparedMail(b"", b"", [], [reply] * len(mail.recipients))


def _no_utf8(subject: str) -> Reply:
    return Reply(553, "5.6.7", f"not sent: the upstream does not support {subject} (SMTPUTF8)")


def _encode_mailbox(mailbox: str, has_utf8: bool) -> str | None:
    """The mailbox as that server accepts it; None if there is no such form."""
    return mailbox if has_utf8 else address.with_ascii_domain(address.Mailbox(mailbox))


def _rcpt(recipient: Recipient, mailbox: str, has_dsn: bool, has_utf8: bool) -> bytes:
    command = f"RCPT TO:<{mailbox}>"
    if has_dsn:
        command += f" NOTIFY={recipient.notify}" if recipient.notify else ""
        orcpt = recipient.orcpt if has_utf8 else _utf8_addr_xtext(recipient.orcpt)
        command += f" ORCPT={orcpt}" if orcpt else ""
    return _encode_command(command)


def _utf8_addr_xtext(orcpt: str) -> str:
    r"""RFC 6533 §3: what is not ASCII as \x{HEX}."""
    return "".join(c if c.isascii() else rf"\x{{{ord(c):X}}}" for c in orcpt)


def _encode_command(text: str) -> bytes:
    line = text.encode("utf-8")
    if _CONTROL.search(line):  # the edge accepts none; a second command must never go out
        raise ValueError("a control character in the envelope")
    return line + b"\r\n"


def _is_ascii(mail: OutgoingMail) -> bool:
    return mail.reverse_path.isascii() and all(recipient.mailbox.isascii() for recipient in mail.recipients)


def _with_ascii_header(octets: bytes) -> bytes | None:
    """The message for a server without SMTPUTF8, where nothing but domains in its header is beyond ASCII.

    A signed message is not changed: a signature that does not verify does more harm than a domain in UTF-8.
    """
    encoded_octets = mailboxes.with_ascii_domains(octets)
    if encoded_octets is None or _has_utf8_fields(encoded_octets):
        return None
    return octets if fields.parse_head(octets, 0, len(octets)).fields_named(b"dkim-signature") else encoded_octets


def _has_utf8_fields(octets: bytes) -> bool:
    """RFC 6532 §3: in the header, or in that of a part."""
    if octets.isascii():
        return False
    return any(not octets[part.start : part.body].isascii() for part in parts.walk_parts(octets))
