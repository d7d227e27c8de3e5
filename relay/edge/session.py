"""One client's dialogue.  RFC 5321 §4, with RFC 1870, 2034, 2920, 3207, 3461, 4954, 6152 and 6531.

aiosmtpd gives the connection, the timer and STARTTLS; the commands are ours, because its own decode
addresses as header fields, answer without enhanced status, read DATA line by line, and turn a fault of
the server into a 500 (DESIGN §3).
"""

import asyncio
import base64
import secrets
import ssl
from collections import defaultdict
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

from aiosmtpd.smtp import SMTP

from relay import address, ids, log
from relay.edge import auth, trace
from relay.edge.data import Data
from relay.edge.policy import MOST_RECEIVED, Policy
from relay.envelope import Accepted, Admit, Client, Envelope, Recipient, Take
from relay.reply import Refused, Reply, refused

IDLE_S = 300.0  # RFC 5321 §4.5.3.2.7
LONGEST_COMMAND = 2048  # octets; 512 and what extensions add (RFC 5321 §4.5.3.1.4)
MOST_ERRORS = 20
_OFF_LOOP = 1 << 20  # octets from which work on a message goes to a thread
_NEEDS = {"RCPT": "MAIL", "DATA": "RCPT"}


class Door(NamedTuple):
    """What all sessions of a process share."""

    hostname: str
    max_size: int
    policy: Policy
    take: Take
    admit: Admit
    sessions: "set[Session]"
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


class Session(SMTP):
    """A dialogue. Every reply is a `Reply`; a command that says no raises `Refused`."""

    line_length_limit = 1 << 17  # the reader's buffer: large blocks of DATA

    def __init__(self, door: Door, tls: ssl.SSLContext | None, *, implicit_tls: bool) -> None:
        super().__init__(
            None,
            hostname=door.hostname,
            enable_SMTPUTF8=True,
            timeout=IDLE_S,
            tls_context=None if implicit_tls else tls,
            loop=asyncio.get_running_loop(),
        )
        self.command_size_limits = defaultdict(lambda: LONGEST_COMMAND)  # aiosmtpd shares one between connections
        self._door = door
        self._implicit_tls = implicit_tls
        self._client = Client(ip="")
        self._mail: Envelope | None = None
        self._errors = 0
        self._is_draining = False
        self.is_busy = False  # between MAIL and the reply to the dot

    # --- the dialogue

    async def _handle_client(self) -> None:
        """aiosmtpd's task for a connection."""
        peer = self.session.peer if self.session else None
        ip = str(peer[0]).partition("%")[0] if isinstance(peer, tuple) else "127.0.0.1"
        self._client = Client(ip=ip, tls=self._implicit_tls)
        self._door.sessions.add(self)
        try:
            self._door.policy.enter(ip)
            await self._say(Reply(220, "", f"{self._door.hostname} ESMTP Waypost"))
            await self._converse()
        except Refused as refusal:
            await self._say(refusal.reply)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client is gone
        finally:
            self._door.policy.leave(ip)
            self._door.sessions.discard(self)
            if self.transport is not None:
                self.transport.close()

    async def _converse(self) -> None:
        is_first = True
        while self.transport is not None and not (self._is_draining and self._mail is None):
            line = await self._command_line()
            self._reset_timeout()
            verb, _, argument = line.partition(" ")
            verb = verb.upper()
            if is_first and argument.upper().endswith((" HTTP/1.0", " HTTP/1.1")):
                return  # a browser or a forged cross-protocol request: not a word to it
            is_first = False
            try:
                await self._obey(verb, argument.strip())
            except Refused as refusal:
                self._errors += 1
                log.refused(self._client.ip, *refusal.reply)
                await self._say(refusal.reply)
                if refusal.reply.code == 421:
                    return
            except (ConnectionError, asyncio.IncompleteReadError):
                raise
            except Exception:  # noqa: BLE001  the outermost loop: what we do not understand is temporary
                fault = secrets.token_hex(4)
                log.fault("edge", fault)
                self._forget()
                await self._say(Reply(451, "4.3.0", f"internal fault {fault}; please try again later"))
            if verb == "QUIT":
                return
            if self._errors >= MOST_ERRORS:
                raise refused(421, "4.7.0", "too many errors")
        if self._is_draining and self.transport is not None:
            await self._say(Reply(421, "4.3.2", "shutting down, please come back"))

    async def _command_line(self) -> str:
        while True:
            try:
                line: bytes = await self._reader.readuntil(b"\n")
            except asyncio.LimitOverrunError as overrun:
                await self._reader.read(overrun.consumed)
                continue
            if len(line) > LONGEST_COMMAND:
                self._errors += 1
                await self._say(Reply(500, "5.5.2", "line too long"))
                continue
            return line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")

    async def _obey(self, verb: str, argument: str) -> None:
        command = _COMMANDS.get(verb)
        if command is None:
            raise refused(500, "5.5.2", "command not recognised")
        if verb in ("MAIL", "RCPT", "DATA", "AUTH") and not self._client.helo:
            raise refused(503, "5.5.1", "send EHLO first")
        await command(self, argument)

    async def _say(self, reply: Reply) -> None:
        self._writer.write(reply.wire())
        await self._writer.drain()

    def _forget(self) -> None:
        """Ends the transaction (RFC 5321 §4.1.1.5)."""
        self._mail = None
        self.is_busy = False

    def drain(self) -> None:
        """Ends the dialogue politely: at once when idle, else after the transaction."""
        self._is_draining = True
        if self._mail is None and self.transport is not None:
            self._writer.write(Reply(421, "4.3.2", "shutting down, please come back").wire())
            self.transport.close()

    # --- aiosmtpd's hooks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        was_plain = self._original_transport is None
        super().connection_made(transport)
        if not was_plain:  # RFC 3207 §4.2: after STARTTLS all is forgotten
            self._client = Client(ip=self._client.ip, tls=True)
            self._forget()

    def eof_received(self) -> bool:
        # A client may close its half after the dot and still wait for the reply.
        self._reader.feed_eof()
        return self.transport is not None and self.transport.get_extra_info("sslcontext") is None

    def _timeout_cb(self) -> None:
        if self.transport is not None:
            self._writer.write(Reply(421, "4.4.2", "idle for too long").wire())
            self.transport.close()

    # --- commands

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
        path = _path(argument, "FROM:", "501 MAIL FROM:<address>")
        given = dict(path.parameters)
        size = given.pop("SIZE", "0")
        body = given.pop("BODY", "").upper()
        smtputf8 = given.pop("SMTPUTF8", None) is not None
        ret, envid = given.pop("RET", "").upper(), given.pop("ENVID", "")
        given.pop("AUTH", None)  # RFC 4954 §5: trusted from nobody, refused to nobody
        if given:
            raise refused(555, "5.5.4", f"parameter not supported: {_shown(next(iter(given)))}")
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
        self.is_busy = True
        await self._say(Reply(250, "2.1.0", "sender ok"))

    async def _rcpt_to(self, argument: str) -> None:
        if self._mail is None:
            raise refused(503, "5.5.1", "MAIL first")
        path = _path(argument, "TO:", "501 RCPT TO:<address>")
        if not path.mailbox:
            raise refused(501, "5.1.3", "a recipient is needed")
        given = dict(path.parameters)
        recipient = Recipient(path.mailbox, notify=given.pop("NOTIFY", "").upper(), orcpt=given.pop("ORCPT", ""))
        if given:
            raise refused(555, "5.5.4", f"parameter not supported: {_shown(next(iter(given)))}")
        self._door.policy.may_receive(len(self._mail.recipients))
        await self._door.admit(path.mailbox)
        self._mail = replace(
            self._mail,
            recipients=(*self._mail.recipients, recipient),
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
        octets = await self._read_data()
        try:
            if trace.hops(octets) > MOST_RECEIVED:
                raise refused(554, "5.4.6", "mail loop: too many Received fields")
            now, message = self._door.now(), ids.new()
            above = trace.fields(octets, message, self._door.hostname, self._client, mail, now)
            taking = asyncio.ensure_future(self._door.take(Accepted(message, now, self._client, mail, octets, above)))
            # Once begun, taking responsibility goes on though the client hangs up.
            reply = await asyncio.shield(taking)
        finally:
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
        try:
            return await asyncio.to_thread(data.finish) if received > _OFF_LOOP else data.finish()
        except Refused:
            self._forget()
            raise

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
        mechanism, _, initial = argument.partition(" ")
        name, password = await auth.exchange(mechanism.upper(), initial.strip() or None, self._challenge)
        await auth.check(self._door.policy, name, password)
        self._client = replace(self._client, user=name)
        await self._say(Reply(235, "2.7.0", "authentication succeeded"))

    async def _challenge(self, text: bytes) -> bytes:
        await self._say(Reply(334, "", base64.b64encode(text).decode("ascii")))
        line: bytes = await self._reader.readuntil(b"\n")
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
        raise refused(501, "5.5.4", f"syntax: {usage.partition(' ')[2]}")
    text = argument[len(keyword) :]
    try:
        text.encode("utf-8")
        return address.parse_path(text)
    except UnicodeEncodeError:
        raise refused(553, "5.6.7", "the address is not UTF-8") from None
    except address.PathSyntaxError as error:
        raise refused(553 if "address" in str(error) else 501, "5.1.3", str(error)) from None


def _shown(text: str) -> str:
    return text[:40]
