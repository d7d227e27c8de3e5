"""The commands of SMTP and what they mean.  RFC 5321 §4.1, with RFC 1870, 2034, 2920, 3207, 3461, 4954, 6152, 6531.

They are ours and not aiosmtpd's, whose own decode addresses as header fields, answer without enhanced status,
read DATA line by line, and turn a fault of the server into a 500 (DESIGN §3).
"""

import asyncio
import base64
from collections.abc import Callable, Coroutine
from dataclasses import replace

from relay import address, ids
from relay.edge import auth, trace
from relay.edge.data import Data
from relay.edge.dialogue import Dialogue
from relay.edge.policy import MOST_RECEIVED
from relay.envelope import Accepted, Envelope, Recipient
from relay.reply import Reply, refused

_OFF_LOOP = 1 << 20  # octets from which work on a message goes to a thread


class Session(Dialogue):
    """A dialogue that sends mail."""

    async def _obey(self, verb: str, argument: str) -> None:
        command = _COMMANDS.get(verb)
        if command is None:
            raise refused(500, "5.5.2", "command not recognised")
        if verb in ("MAIL", "RCPT", "DATA", "AUTH") and not self._client.helo:
            raise refused(503, "5.5.1", "send EHLO first")
        await command(self, argument)

    async def _helo(self, argument: str) -> None:
        self._greeted(argument, esmtp=False)
        await self._say(Reply(250, "", self._door.hostname))

    async def _ehlo(self, argument: str) -> None:
        self._greeted(argument, esmtp=True)
        offers = [
            self._door.hostname,
            "PIPELINING",
            f"SIZE {self._door.max_size}",
            "8BITMIME",
            "SMTPUTF8",
            "ENHANCEDSTATUSCODES",
        ]
        if self.tls_context and not self._client.tls:
            offers.append("STARTTLS")
        if self._door.policy.offers_auth(self._client):
            offers.append(f"AUTH {' '.join(auth.MECHANISMS)}")
        await self._say(Reply(250, "", "\n".join(offers)))

    def _greeted(self, argument: str, *, esmtp: bool) -> None:
        if not argument:
            raise refused(501, "5.5.4", "a host name is needed")
        self._forget()
        self._client = replace(self._client, helo=argument[:255], esmtp=esmtp)

    async def _mail_from(self, argument: str) -> None:
        if self._mail is not None:
            raise refused(503, "5.5.1", "nested MAIL command")
        path = _path(argument, "FROM:", "MAIL FROM:<address>")
        given = dict(path.parameters)
        size = given.pop("SIZE", "0")
        body = given.pop("BODY", "").upper()
        smtputf8 = given.pop("SMTPUTF8", None) is not None
        ret, envid = given.pop("RET", "").upper(), given.pop("ENVID", "")
        given.pop("AUTH", None)  # RFC 4954 §5: trusted from nobody, refused to nobody
        if given:
            raise refused(555, "5.5.4", f"parameter not supported: {next(iter(given))[:40]}")
        if not size.isdecimal() or body not in ("", "7BIT", "8BITMIME") or ret not in ("", "FULL", "HDRS"):
            raise refused(501, "5.5.4", "a parameter's value is malformed")
        self._door.policy.may_send(self._client, path.mailbox)
        self._door.policy.may_be_large(int(size))
        self._mail = Envelope(
            path.mailbox,
            (),
            body=body,
            smtputf8=smtputf8 or not address.is_ascii(path.mailbox),
            ret=ret,
            envid=envid,
            stream=user.stream if (user := self._door.policy.user(self._client.user)) else "",
        )
        await self._say(Reply(250, "2.1.0", "sender ok"))

    async def _rcpt_to(self, argument: str) -> None:
        if self._mail is None:
            raise refused(503, "5.5.1", "MAIL first")
        path = _path(argument, "TO:", "RCPT TO:<address>")
        if not path.mailbox:
            raise refused(501, "5.1.3", "a recipient is needed")
        given = dict(path.parameters)
        recipient = Recipient(path.mailbox, notify=given.pop("NOTIFY", "").upper(), orcpt=given.pop("ORCPT", ""))
        if given:
            raise refused(555, "5.5.4", f"parameter not supported: {next(iter(given))[:40]}")
        self._door.policy.may_receive(len(self._mail.recipients))
        await self._door.admit(path.mailbox, self._client, self._mail)
        is_new = all(recipient.mailbox != other.mailbox for other in self._mail.recipients)
        self._mail = replace(
            self._mail,
            # Twice the same recipient is one delivery, as with any server.
            recipients=(*self._mail.recipients, recipient) if is_new else self._mail.recipients,
            smtputf8=self._mail.smtputf8 or not address.is_ascii(path.mailbox),
        )
        await self._say(Reply(250, "2.1.5", "recipient ok"))

    async def _data(self, argument: str) -> None:
        mail = self._mail
        if mail is None or not mail.recipients:
            raise refused(503, "5.5.1", f"{'MAIL' if mail is None else 'RCPT'} first")
        if argument:
            raise refused(501, "5.5.4", "DATA takes no argument")
        await self._say(Reply(354, "", "go ahead, end with <CRLF>.<CRLF>"))
        try:
            octets = await self._read_data()
            if trace.hops(octets) > MOST_RECEIVED:
                raise refused(554, "5.4.6", "mail loop: too many Received fields")
            now, message = self._door.now(), ids.new()
            above = trace.fields(octets, message, self._door.hostname, self._client, mail, now)
            taking = asyncio.ensure_future(self._door.take(Accepted(message, now, self._client, mail, octets, above)))
            # Once begun, taking responsibility goes on though the client hangs up.
            self._suspend_timeout()
            reply = await asyncio.shield(taking)
            self._errors = 0
        finally:
            if self.transport is not None:  # a connection that is gone needs no timer
                self._reset_timeout()
            self._forget()
        await self._say(reply)

    async def _read_data(self) -> bytes:
        data = Data(self._door.max_size)
        received = 0
        while True:
            block: bytes = await self._reader.read(1 << 30)  # all that is there
            if not block:
                raise asyncio.IncompleteReadError(b"", None)
            self._reset_timeout()
            received += len(block)
            rest = data.feed(block)
            if rest is not None:
                if rest:
                    self._reader.feed_data(rest)  # pipelined commands (RFC 2920)
                break
        return await asyncio.to_thread(data.finish) if received > _OFF_LOOP else data.finish()

    async def _rset(self, argument: str) -> None:
        self._forget()
        await self._say(Reply(250, "2.0.0", "ok"))

    async def _noop(self, argument: str) -> None:
        await self._say(Reply(250, "2.0.0", "ok"))

    async def _vrfy(self, argument: str) -> None:
        await self._say(Reply(252, "2.5.2", "cannot verify, but will try to deliver"))

    async def _help(self, argument: str) -> None:
        await self._say(Reply(214, "2.0.0", f"commands: {' '.join(_COMMANDS)}"))

    async def _quit(self, argument: str) -> None:
        await self._say(Reply(221, "2.0.0", "goodbye"))

    async def _starttls(self, argument: str) -> None:
        if self._client.tls or not self.tls_context:
            raise refused(
                503 if self._client.tls else 502, "5.5.1", "TLS is on already" if self._client.tls else "no TLS here"
            )
        await super().smtp_STARTTLS(argument)

    async def _auth(self, argument: str) -> None:
        if not self._door.policy.offers_auth(self._client):
            raise refused(502, "5.5.1", "AUTH is not available here")
        if self._client.user or self._mail is not None:
            raise refused(503, "5.5.1", "not now")
        if not argument.isascii():
            raise refused(501, "5.5.2", "not base64")
        mechanism, _, initial = argument.partition(" ")
        name, password = await auth.exchange(mechanism.upper(), initial.strip() or None, self._challenge)
        await auth.check(self._door.policy, name, password)
        self._client = replace(self._client, user=name)
        await self._say(Reply(235, "2.7.0", "authentication succeeded"))

    async def _challenge(self, text: bytes) -> bytes:
        await self._say(Reply(334, "", base64.b64encode(text).decode("ascii")))
        try:
            line: bytes = await self._reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            raise refused(421, "5.5.6", "the response is too long") from None
        return line.strip()


_COMMANDS: dict[str, Callable[[Session, str], Coroutine[None, None, None]]] = {
    "EHLO": Session._ehlo,
    "HELO": Session._helo,
    "MAIL": Session._mail_from,
    "RCPT": Session._rcpt_to,
    "DATA": Session._data,
    "RSET": Session._rset,
    "NOOP": Session._noop,
    "QUIT": Session._quit,
    "VRFY": Session._vrfy,
    "HELP": Session._help,
    "STARTTLS": Session._starttls,
    "AUTH": Session._auth,
}


def _path(argument: str, keyword: str, usage: str) -> address.Path:
    if argument[: len(keyword)].upper() != keyword:
        raise refused(501, "5.5.4", f"syntax: {usage}")
    text = argument[len(keyword) :]
    try:
        text.encode("utf-8")
        return address.parse_path(text)
    except UnicodeEncodeError:
        raise refused(553, "5.6.7", "the address is not UTF-8") from None
    except address.PathSyntaxError as error:
        raise refused(553 if "address" in str(error) else 501, "5.1.3", str(error)) from None
