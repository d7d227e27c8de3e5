"""The SMTP envelope of one transaction and the client that gave it.  RFC 5321 §2.3.1."""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol

from relay.address import Mailbox
from relay.mime.fields import Head
from relay.reply import Reply

if TYPE_CHECKING:  # a command that rewrites one mail starts sooner without
    import asyncio


@dataclass(frozen=True, slots=True)
class Login:
    """A name and password for an upstream. Held in memory only: never stored, never logged."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Client:
    """The program that is connected to our SMTP port."""

    ip: str
    helo: str = ""
    esmtp: bool = True
    tls: bool = False
    user: str = ""  # the authenticated name; "" when admitted by network

    @property
    def protocol(self) -> str:
        """The `with` clause of Received: RFC 5321 §4.4, RFC 3848."""
        if not self.esmtp:
            return "SMTP"
        return "ESMTP" + ("S" if self.tls else "") + ("A" if self.user else "")


class Recipient(NamedTuple):
    """One RCPT, with its DSN parameters as they came (RFC 3461 §4.1, §4.2)."""

    mailbox: Mailbox
    notify: str = ""
    orcpt: str = ""


class Envelope(NamedTuple):
    """MAIL and its RCPTs, in order."""

    reverse_path: Mailbox
    recipients: tuple[Recipient, ...]
    body: str = ""  # "", 7BIT or 8BITMIME (RFC 6152)
    smtputf8: bool = False  # RFC 6531
    ret: str = ""  # RFC 3461 §4.3
    envid: str = ""  # RFC 3461 §4.4
    stream: str = ""  # the credential's stream, if it has one
    is_report: bool = False  # for the return path: it goes no further

    def with_recipient(self, recipient: Recipient, *, is_report: bool) -> "Envelope":
        """The same with one RCPT more. Twice the same recipient is one delivery, as with any server."""
        recipients = self.recipients
        if not recipients or all(recipient.mailbox != other.mailbox for other in recipients):
            recipients = (*recipients, recipient)
        is_utf8 = self.smtputf8 or not recipient.mailbox.isascii()
        return Envelope(self.reverse_path, recipients, self.body, is_utf8, self.ret, self.envid, self.stream, is_report)


class AcceptedMessage(NamedTuple):
    """A message as the edge received it, before the reply to its dot."""

    id: str  # relay.ids
    at: datetime
    client: Client
    envelope: Envelope
    octets: bytes  # as they came, dot-unstuffed, every line CRLF-ended
    prepended_fields: tuple[bytes, ...]  # whole fields: Received, and Date or Message-ID where missing
    head: Head  # of the octets
    hung_up: "asyncio.Future[None] | None" = None  # done when its client no longer waits for the reply


class ReturnPathHandler(Protocol):
    """Reads the mail to the return path's domain."""

    def takes_mail_for(self, mailbox: Mailbox, stranger: Client | None = None) -> bool:
        """True for an address of that domain that accepts mail. False for an address of another domain.

        Raises RefusedError for an address of the domain that does not exist, and for a stranger whose network has
        used up its reading time of this hour.
        """

    async def accept_report(self, accepted: AcceptedMessage) -> Reply:
        """The reply to the dot. Raises RefusedError."""


AcceptMessage = Callable[[AcceptedMessage], Coroutine[None, None, Reply]]  # the reply to the dot; raises RefusedError
# Raises RefusedError for a recipient that shall get no mail from that client.
CheckRecipient = Callable[[Mailbox, Client, Envelope], Awaitable[None]]
Authenticate = Callable[
    [str, str], Awaitable[None]
]  # a client's name and password; raises RefusedError unless they are good
