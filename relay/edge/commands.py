"""The commands of SMTP and what they mean.  RFC 5321 §4.1, with RFC 1870, 2034, 2920, 3207, 3461, 4954, 6152, 6531.

We do not use aiosmtpd's commands: they decode addresses as header fields, answer without enhanced status codes, read
DATA line by line, and answer a fault of the server with 500.
"""

import asyncio
import base64
import re
from collections.abc import Callable, Coroutine
from dataclasses import replace

from relay import address, ids, telemetry, timed_wait
from relay.edge import auth, dsn_parameters, header, trace_fields
from relay.edge.connection import MAX_RESPONSE, SmtpConnection
from relay.edge.data import Data
from relay.edge.policy import MAX_HOPS, MAX_OWN_HOPS, OUT_OF_MEMORY_BUDGET
from relay.edge.reader import LineTooLongError
from relay.envelope import AcceptedMessage, Envelope, Recipient
from relay.reply import RefusedError, Reply, refusal

# RFC 5321 §4.5.3.2.5 has minutes between two blocks of DATA, and an octet a minute would hold a connection for ever:
# each block buys time at this rate, up to the idle time.
_MIN_RATE = 64  # octets a second
MAX_REPORT_S = 180.0  # for the DATA of a client that may not relay, however fast it sends

_UNPRODUCTIVE_COMMANDS = frozenset({"NOOP", "RSET", "VRFY", "EXPN", "EHLO", "HELO", "HELP"})
_OFF_LOOP = 1 << 22  # octets from which a message is joined in a thread: these take 1 ms
_HEADER_OFF_LOOP = 1 << 17  # octets of a header section that is read in a thread: 20,000 lines take 0.1 s
_SIZE = re.compile(r"[0-9]{1,20}")  # RFC 1870 §4


class SmtpSession(SmtpConnection):
    """A connection on which mail is sent."""

    _declared_size = 0  # octets of the mail under way, as its client declared
    _octets_counted = 0  # octets of it that count against the memory budget
    _relay_refusal: RefusedError | None = (
        None  # why the client may not relay: the reply when it names a recipient elsewhere
    )

    async def _dispatch(self, verb: str, argument: str) -> None:
        command = _COMMANDS.get(verb)
        if command is None:
            raise refusal(500, "5.5.2", "command not recognised")
        if verb in ("MAIL", "RCPT", "DATA", "AUTH") and not self._client.helo:
            raise refusal(503, "5.5.1", "send EHLO first")
        if verb in _UNPRODUCTIVE_COMMANDS:
            self._error_budget.count_unproductive(is_stranger=self._is_stranger)
        try:
            await command(self, argument)
        except RefusedError:
            if verb in ("MAIL", "RCPT", "DATA"):
                self._error_budget.count_refused_command(is_stranger=self._is_stranger)
            raise

    async def _helo(self, argument: str) -> None:
        self._set_helo(argument, esmtp=False)
        await self._reply(Reply(250, "", self._server.hostname))

    async def _ehlo(self, argument: str) -> None:
        self._set_helo(argument, esmtp=True)
        limits = [self._server.hostname, "PIPELINING", f"SIZE {self._server.max_size}"]
        offers = [*limits, "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN"]
        if self._may_start_tls:
            offers.append("STARTTLS")
        if self._server.policy.offers_auth(self._client):
            offers.append(f"AUTH {' '.join(auth.MECHANISMS)}")
        await self._reply(Reply(250, "", "\n".join(offers)))

    def _set_helo(self, argument: str, *, esmtp: bool) -> None:
        if not argument:
            raise refusal(501, "5.5.4", "a host name is needed")
        self._reset_transaction()
        self._set_client(replace(self._client, helo=argument[:255], esmtp=esmtp))

    async def _mail_from(self, argument: str) -> None:
        if self._mail is not None:
            raise refusal(503, "5.5.1", "nested MAIL command")
        mailbox, given = _parse_path(argument, "FROM:", "MAIL FROM:<address>")
        size = given.pop("SIZE", "0")
        body = given.pop("BODY", "").upper()
        smtputf8 = given.pop("SMTPUTF8", None)
        ret = dsn_parameters.parse_ret(given.pop("RET")) if "RET" in given else ""
        envid = dsn_parameters.parse_envid(given.pop("ENVID")) if "ENVID" in given else ""
        given.pop("AUTH", None)  # RFC 4954 §5: trusted from nobody, refused to nobody
        if given:
            raise refusal(555, "5.5.4", f"parameter not supported: {next(iter(given))[:40]}")
        if not _SIZE.fullmatch(size) or body not in ("", "7BIT", "8BITMIME") or smtputf8:
            raise refusal(501, "5.5.4", "a parameter's value is malformed")
        self._relay_refusal = self._find_relay_refusal(mailbox)
        self._server.policy.check_size(int(size), is_report=self._relay_refusal is not None)
        self._declared_size = int(size)
        self._mail = Envelope(
            mailbox,
            (),
            body=body,
            smtputf8=smtputf8 is not None or not mailbox.isascii(),
            ret=ret,
            envid=envid,
            stream=user.stream if (user := self._server.policy.find_user(self._client.user)) else "",
        )
        await self._reply(Reply(250, "2.1.0", "sender ok"))

    def _find_relay_refusal(self, reverse_path: address.Mailbox) -> RefusedError | None:
        """The refusal of a client that may not relay but may still bring a report. Raises it where reports are not
        accepted."""
        try:
            self._server.policy.check_sender(self._client, reverse_path)
        except RefusedError as refusal:
            if self._server.return_path is None:
                raise
            return refusal
        return None

    def _check_report_recipient(self, mail: Envelope, recipient: address.Mailbox) -> bool:
        """True if the mail is for the return path: anybody may send that, and it has no other recipient."""
        stranger = self._client if self._relay_refusal else None
        is_report = self._server.return_path is not None and self._server.return_path.takes_mail_for(
            recipient, stranger
        )
        if self._relay_refusal and not is_report:
            raise self._relay_refusal
        if mail.recipients and (is_report or mail.is_report):
            raise refusal(452, "4.5.3", "one recipient at a time where the return path is among them")
        return is_report

    async def _rcpt_to(self, argument: str) -> None:
        if self._mail is None:
            raise refusal(503, "5.5.1", "MAIL first")
        mailbox, given = _parse_path(argument, "TO:", "RCPT TO:<address>")
        if not mailbox:
            raise refusal(501, "5.1.3", "a recipient is needed")
        recipient = Recipient(
            mailbox,
            notify=dsn_parameters.parse_notify(given.pop("NOTIFY")) if "NOTIFY" in given else "",
            orcpt=dsn_parameters.parse_orcpt(given.pop("ORCPT")) if "ORCPT" in given else "",
        )
        if given:
            raise refusal(555, "5.5.4", f"parameter not supported: {next(iter(given))[:40]}")
        self._server.policy.check_recipient_count(len(self._mail.recipients))
        is_report = self._check_report_recipient(self._mail, mailbox)
        if not is_report:
            await self._server.check_recipient(mailbox, self._client, self._mail)
        self._mail = self._mail.with_recipient(recipient, is_report=is_report)
        await self._reply(Reply(250, "2.1.5", "recipient ok"))

    async def _data(self, argument: str) -> None:
        mail = self._mail
        if mail is None or not mail.recipients:
            raise refusal(503, "5.5.1", f"{'MAIL' if mail is None else 'RCPT'} first")
        if argument:
            raise refusal(501, "5.5.4", "DATA takes no argument")
        may_relay = not self._is_stranger
        self._server.policy.check_size(self._declared_size, is_report=mail.is_report)
        self._server.policy.check_memory_budget(self._declared_size, may_relay=may_relay)
        await self._reply(Reply(354, "", "go ahead, end with <CRLF>.<CRLF>"))
        self._octets_counted = 0
        telemetry.begin_data()
        try:
            octets = await self._read_data(may_relay=may_relay, is_report=mail.is_report)
            return_path = self._server.return_path if mail.is_report else None
            accept = return_path.accept_report if return_path else self._server.accept_message
            self._dot_at_s, self._hung_up = self.loop.time(), self.loop.create_future()
            make = self._make_accepted_message
            is_large = len(octets) >= _HEADER_OFF_LOOP and octets.find(b"\r\n\r\n", 0, _HEADER_OFF_LOOP) < 0
            accepted = await asyncio.to_thread(make, mail, octets) if is_large else make(mail, octets)
            taking = self.loop.create_task(accept(accepted))
            self._deadline.clear()  # while we work on the message, its client is not idle
            reply = await timed_wait.wait_shielded(taking)
            self._error_budget.reset()
        finally:
            self._server.policy.release_octets(self._octets_counted, may_relay=may_relay)
            if self.transport is not None:  # a connection that is gone needs no timer
                self._reset_timeout()
            self._reset_transaction()
        # RFC 2034 §4: every reply has a status; an upstream may have given none.
        await self._reply(reply if reply.status else reply._replace(status=f"{reply.code // 100}.0.0"))

    async def _read_data(self, *, may_relay: bool, is_report: bool) -> bytes:
        data = Data(self._server.policy.max_size(is_report=is_report))
        left_s, at = self._server.idle_s, self.loop.time()
        size, end = 0, at + MAX_REPORT_S
        while True:
            block = await self._command_reader.read_block()
            left_s += len(block) / _MIN_RATE - (self.loop.time() - at)
            left_s, at = min(left_s, self._server.idle_s), self.loop.time()
            if at > end and not may_relay:
                raise refusal(421, "4.4.2", "the message takes too long")
            if not may_relay:
                await asyncio.sleep(self._server.policy.pause_s(len(block), at))
            rest = data.feed(block)
            size += len(block)
            if rest is None:
                self._reset_timeout(max(left_s if may_relay else min(left_s, end - at), 0.001))
                await asyncio.sleep(0)  # other connections have their turn
            if not data.is_refused:
                self._octets_counted += len(block)
                if not self._server.policy.count_octets(len(block), may_relay=may_relay):
                    data.refuse(Reply(*OUT_OF_MEMORY_BUDGET))
            if data.is_refused:  # it keeps nothing, so nothing counts
                self._server.policy.release_octets(self._octets_counted, may_relay=may_relay)
                self._octets_counted = 0
            if rest is not None:
                self._command_reader.put_back(rest)  # commands sent ahead (RFC 2920)
                return data.finish() if size < _OFF_LOOP else await asyncio.to_thread(data.finish)

    def _make_accepted_message(self, mail: Envelope, octets: bytes) -> AcceptedMessage:
        """The message as it was taken in. Raises RefusedError for one that loops, is all header, or is from somebody
        that its user may not send as."""
        octets = header.complete_header(octets)
        head = header.read_header(octets)
        relays, ours = trace_fields.count_hops(octets, head, self._server.hostname)
        if relays > MAX_HOPS or ours >= MAX_OWN_HOPS:
            raise refusal(554, "5.4.6", "mail loop: too many Received fields" + (" of this host" if ours else ""))
        self._server.policy.check_author(self._client, octets, head)
        now, message = self._server.now(), ids.new()
        above = trace_fields.make_trace_fields(head, message, self._server.hostname, self._client, mail, now)
        return AcceptedMessage(message, now, self._client, mail, octets, above, head, self._hung_up)

    async def _rset(self, argument: str) -> None:
        self._reset_transaction()
        await self._reply(Reply(250, "2.0.0", "ok"))

    async def _noop(self, argument: str) -> None:
        await self._reply(Reply(250, "2.0.0", "ok"))

    async def _vrfy(self, argument: str) -> None:
        await self._reply(Reply(252, "2.5.2", "cannot verify, but will try to deliver"))

    async def _expn(self, argument: str) -> None:
        raise refusal(502, "5.5.1", "there are no lists here")

    async def _help(self, argument: str) -> None:
        await self._reply(Reply(214, "2.0.0", f"commands: {' '.join(_COMMANDS)}"))

    async def _quit(self, argument: str) -> None:
        await self._reply(Reply(221, "2.0.0", "goodbye"))

    @property
    def _may_start_tls(self) -> bool:
        return self._listener.certificate is not None and not self._client.tls

    async def _starttls(self, argument: str) -> None:
        if not self._may_start_tls:
            raise (
                refusal(503, "5.5.1", "TLS is on already") if self._client.tls else refusal(502, "5.5.1", "no TLS here")
            )
        if argument:
            raise refusal(501, "5.5.4", "STARTTLS takes no argument")
        await self._reply(Reply(220, "2.0.0", "ready for TLS"))
        await self._start_tls()

    async def _auth(self, argument: str) -> None:
        if not self._server.policy.offers_auth(self._client):
            raise refusal(502, "5.5.1", "AUTH is not available here")
        if self._client.user or self._mail is not None:
            raise refusal(503, "5.5.1", "already authenticated" if self._client.user else "not within a transaction")
        if not argument.isascii():
            raise refusal(501, "5.5.2", "not base64")
        self._server.password_guesses.check_failures(self._client.ip)
        mechanism, _, initial = argument.partition(" ")
        name, password = await auth.run_exchange(mechanism.upper(), initial.strip() or None, self._challenge)
        self._deadline.clear()
        try:
            async with self._server.password_guesses.password_attempt(self._client.ip):
                await self._server.authenticate(name, password)
        finally:
            if self.transport is not None:
                self._reset_timeout()
        self._set_client(replace(self._client, user=name))
        if self._slot:
            self._slot.mark_trusted()
        await self._reply(Reply(235, "2.7.0", "authentication succeeded"))

    async def _challenge(self, text: bytes) -> bytes:
        await self._reply(Reply(334, "", base64.b64encode(text).decode("ascii")))
        try:
            return (await self._command_reader.read_line(MAX_RESPONSE)).strip()
        except LineTooLongError:
            raise refusal(500, "5.5.6", "the response is too long") from None


_COMMANDS: dict[str, Callable[[SmtpSession, str], Coroutine[None, None, None]]] = {
    "EHLO": SmtpSession._ehlo,
    "HELO": SmtpSession._helo,
    "MAIL": SmtpSession._mail_from,
    "RCPT": SmtpSession._rcpt_to,
    "DATA": SmtpSession._data,
    "RSET": SmtpSession._rset,
    "NOOP": SmtpSession._noop,
    "QUIT": SmtpSession._quit,
    "VRFY": SmtpSession._vrfy,
    "EXPN": SmtpSession._expn,
    "HELP": SmtpSession._help,
    "STARTTLS": SmtpSession._starttls,
    "AUTH": SmtpSession._auth,
}


def _parse_path(argument: str, keyword: str, usage: str) -> address.Path:
    if argument[: len(keyword)].upper() != keyword:
        raise refusal(501, "5.5.4", f"syntax: {usage}")
    text = argument[len(keyword) :]
    try:
        if plain := address.parse_plain_path(text):
            return plain
        text.encode("utf-8")
        return address.parse_path(text)
    except UnicodeEncodeError:
        raise refusal(553, "5.6.7", "the address is not UTF-8") from None
    except address.ParameterSyntaxError as error:
        raise refusal(501, "5.5.4", str(error)) from None
    except address.PathSyntaxError as error:
        raise refusal(553 if "address" in str(error) else 501, "5.1.3", str(error)) from None
