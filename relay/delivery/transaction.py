"""One mail transaction over an open connection: MAIL, RCPT…, DATA, dot, a reply for each recipient.

RFC 5321 §3.3, §4.5.3.2 (timeouts), RFC 1870, 3461, 6152, 6531. aiosmtplib is the transport; its own
`sendmail` loses the replies to single recipients, and its `rcpt` rewrites odd addresses (DESIGN §5).
"""

import contextlib
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import aiosmtplib

from relay import reply as replies
from relay.bounce.classify import Phase
from relay.envelope import Login, Recipient
from relay.reply import Reply

# RFC 5321 §4.5.3.2, in seconds.
MAIL_S, RCPT_S, DATA_S, DOT_S = 300.0, 300.0, 120.0, 600.0
_LINE_START_DOT = re.compile(rb"^\.", re.MULTILINE)


class Outgoing(NamedTuple):
    """The envelope of one transaction and, when they are asked for, its octets: CRLF-ended lines, not dot-stuffed.

    A copy is made when there is a connection for it: a thousand that wait are a thousand closures, not copies.
    """

    reverse_path: str
    recipients: Sequence[Recipient]
    render: Callable[[], Awaitable[bytes]]
    body: str = ""
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""
    login: Login | None = None  # the client's own credentials, used instead of the upstream's configured ones


class Said(NamedTuple):
    """In which phase a recipient's fate was sealed, and by which reply."""

    phase: Phase
    reply: Reply


class Broken(Exception):
    """The connection failed. `said` is what is known by then, one for each recipient."""

    def __init__(self, said: list[Said]) -> None:
        super().__init__(str(said[0].reply) if said else "")
        self.said = said


async def send(client: aiosmtplib.SMTP, mail: Outgoing) -> list[Said]:
    """Hands a mail over. Returns what was said of each recipient, in their order.

    Raises Broken when the connection fails on the way; after the dot, the mail may have arrived all the same.
    """
    said: list[Said | None] = [None] * len(mail.recipients)
    phase = Phase.MAIL

    def rest(reply: Reply) -> list[Said]:
        return [one or Said(phase, reply) for one in said]

    octets = await mail.render()
    try:
        needs_utf8 = mail.smtputf8 and client.supports_extension("smtputf8")
        if mail.smtputf8 and not needs_utf8 and not _is_ascii(mail):
            # RFC 6531 §3.2: such an address cannot be written for this server.
            return rest(Reply(550, "5.6.7", "the upstream does not support internationalised addresses (SMTPUTF8)"))
        reply = await _command(
            client, MAIL_S, f"MAIL FROM:<{mail.reverse_path}>", *_mail_parameters(client, mail, octets)
        )
        if not reply.accepts:
            await _reset(client)
            return rest(reply)
        phase = Phase.RCPT
        for n, recipient in enumerate(mail.recipients):
            reply = await _command(
                client, RCPT_S, f"RCPT TO:<{recipient.mailbox}>", *_rcpt_parameters(client, recipient)
            )
            if not reply.accepts:
                said[n] = Said(phase, reply)
                if reply.code == 421:  # RFC 5321 §3.8: the server is closing
                    return rest(reply)
        if all(said):
            await _reset(client)
            return rest(reply)
        phase = Phase.DATA
        reply = await _command(client, DATA_S, "DATA", wanted=354)
        if reply.code != 354:
            await _reset(client)
            return rest(reply)
        phase = Phase.DOT
        protocol = client.protocol
        if protocol is None:
            raise aiosmtplib.SMTPServerDisconnected("connection lost")
        protocol.write(_stuffed(octets))
        response = await protocol.read_response(timeout=DOT_S)
        return rest(_expected(replies.read(response.code, response.message)))
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:
        client.close()
        raise Broken(rest(_no_reply(phase, error))) from error


async def _command(client: aiosmtplib.SMTP, timeout_s: float, *words: str, wanted: int = 250) -> Reply:
    response = await client.execute_command(*(word.encode("utf-8") for word in words), timeout=timeout_s)
    return _expected(replies.read(response.code, response.message), wanted)


def _expected(reply: Reply, wanted: int = 250) -> Reply:
    """The reply, if it is one that may stand there. A 354 to the dot, or a 250 to DATA, has no meaning to act on."""
    if reply.code // 100 == wanted // 100 or 400 <= reply.code < 600:
        return reply
    raise _Unexpected(f"unexpected reply: {reply}"[:500])


class _Unexpected(ValueError):
    """The two sides have lost step."""


async def _reset(client: aiosmtplib.SMTP) -> None:
    """Ready for the next mail. If that fails, what was said of this one still holds."""
    with contextlib.suppress(aiosmtplib.SMTPException, OSError, ValueError):
        if client.is_connected:
            await _command(client, MAIL_S, "RSET")
            return
    client.close()


def _no_reply(phase: Phase, error: Exception) -> Reply:
    if isinstance(error, aiosmtplib.SMTPResponseException):  # garbage instead of a reply
        return replies.read(0, f"not an SMTP reply: {error.message}"[:500])
    if isinstance(error, _Unexpected):
        return Reply(0, "", str(error))
    what = "timed out" if isinstance(error, aiosmtplib.SMTPTimeoutError) else "connection lost"
    after = " after the message was sent; it may have arrived" if phase is Phase.DOT else ""
    return Reply(0, "", f"{what}{after}")


def _mail_parameters(client: aiosmtplib.SMTP, mail: Outgoing, octets: bytes) -> list[str]:
    out = []
    if client.supports_extension("size"):
        out.append(f"SIZE={len(octets)}")
    if client.supports_extension("8bitmime") and (mail.body == "8BITMIME" or not octets.isascii()):
        out.append("BODY=8BITMIME")
    if mail.smtputf8 and client.supports_extension("smtputf8"):
        out.append("SMTPUTF8")
    if client.supports_extension("dsn"):
        out += [f"RET={mail.ret}"] if mail.ret else []
        out += [f"ENVID={mail.envid}"] if mail.envid else []
    return out


def _rcpt_parameters(client: aiosmtplib.SMTP, recipient: Recipient) -> list[str]:
    if not client.supports_extension("dsn"):
        return []
    out = [f"NOTIFY={recipient.notify}"] if recipient.notify else []
    return out + ([f"ORCPT={recipient.orcpt}"] if recipient.orcpt else [])


def _is_ascii(mail: Outgoing) -> bool:
    return mail.reverse_path.isascii() and all(recipient.mailbox.isascii() for recipient in mail.recipients)


def _stuffed(octets: bytes) -> bytes:
    """Dot-stuffed and ended (RFC 5321 §4.5.2). Lines end in CRLF already: the edge saw to it."""
    if not octets.endswith(b"\r\n"):
        octets += b"\r\n"
    return _LINE_START_DOT.sub(b"..", octets) + b".\r\n"
