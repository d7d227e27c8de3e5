"""From an `[[upstream]]` table to an open connection: TCP, TLS, EHLO, AUTH.

aiosmtplib does these. Then a SmtpClientProtocol takes over the transport, because aiosmtplib has no pipelining.
RFC 5321 §3.1, RFC 3207 (where STARTTLS is required and missing, no mail is sent), RFC 4954 (one mechanism, once).
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import cast

import aiosmtplib

from relay import reply as replies
from relay.bounce.classify import Phase
from relay.config import smtp
from relay.delivery.smtp import helo_name
from relay.delivery.smtp.conversation_record import HandshakeRecord, RecordedSmtp
from relay.delivery.smtp.protocol import SmtpClientProtocol
from relay.envelope import Login
from relay.reply import Reply

HELO_S, AUTH_S = 300.0, 120.0
_MECHANISMS = ("plain", "login", "cram-md5")  # in this order: under TLS none is safer than the first


class UnreachableError(Exception):
    """No transaction with the upstream is possible: the phase, and its reply. Code 0: there was no reply."""

    def __init__(self, phase: Phase, reply: Reply, *, nothing_tried: bool = False, conversation: str = "") -> None:
        super().__init__(f"{phase}: {reply}")
        self.phase = phase
        self.reply = reply
        self.nothing_tried = nothing_tried  # the reason was known before, and no connection was made
        self.conversation = conversation  # up to there


class Connector:
    """Opens connections to one upstream."""

    def __init__(self, settings: smtp.UpstreamConfig, hostname: str) -> None:
        self._settings = settings
        self._hostname = hostname
        self._tls: ssl.SSLContext | None = None

    async def connect(self, login: Login | None) -> SmtpClientProtocol:
        """A connection that is ready for MAIL, logged in with those credentials; without any, with the
        configured ones if there are some. Raises UnreachableError."""
        phase = Phase.CONNECT
        client: RecordedSmtp | None = None
        record = HandshakeRecord(asyncio.get_running_loop().time)
        try:
            tls = self._tls_context()
            client = self._make_client(tls, record)
            await self._connect(client)
            phase = Phase.HELO
            name = await helo_name.ehlo_name(self._hostname, client.transport)
            await _say_ehlo(client, name)
            if self._settings.tls == "starttls":
                phase = Phase.CONNECT
                if not client.supports_extension("starttls"):
                    raise UnreachableError(phase, Reply(0, "", "the upstream offers no STARTTLS"))
                await _start_tls(client, tls)
                phase = Phase.HELO
                await _say_ehlo(client, name)
            phase = Phase.AUTH
            await self._log_in(client, login)
            return _take_over_transport(client)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            _close(client)
            reply = _reply(error)
            if not reply.code:
                record.note(reply.text)
            raise UnreachableError(phase, reply, conversation=record.to_text()) from error
        except UnreachableError as error:
            _close(client)
            record.note(error.reply.text)
            error.conversation = record.to_text()
            raise
        except BaseException:
            _close(client)
            raise

    def _make_client(self, tls: ssl.SSLContext | None, record: HandshakeRecord) -> RecordedSmtp:
        settings = self._settings
        client = RecordedSmtp(
            hostname=settings.address.host,
            port=settings.address.port,
            local_hostname=self._hostname,
            use_tls=settings.tls == "implicit",
            start_tls=False,
            tls_context=tls,
            timeout=settings.connect_timeout.total_seconds(),
        )
        client.record = record
        return client

    async def _connect(self, client: RecordedSmtp) -> None:
        """To the end of the greeting. Servers that delay spammers greet after half a minute and more, and RFC 5321
        §4.5.3.2.1 gives them five; a connection that does not come about has less time."""
        settings = self._settings
        client.record.begin(str(settings.address))
        connecting = asyncio.ensure_future(client.connect(timeout=settings.greeting_timeout.total_seconds()))
        try:
            await asyncio.wait({connecting}, timeout=settings.connect_timeout.total_seconds())
            if not connecting.done() and client.transport is None:
                raise aiosmtplib.SMTPConnectTimeoutError("no connection")
            greeting = await connecting
        except aiosmtplib.SMTPResponseException as refusal:
            client.record.record_reply(refusal.code, refusal.message)
            raise
        finally:
            if not connecting.done():
                connecting.cancel()
                await asyncio.gather(connecting, return_exceptions=True)
        client.record.note(_describe_connection(client))
        client.record.record_reply(greeting.code, greeting.message)

    def _tls_context(self) -> ssl.SSLContext | None:
        if self._settings.tls != "off" and self._tls is None:
            try:
                self._tls = ssl.create_default_context(cafile=self._settings.ca_file)
            except OSError as error:
                raise UnreachableError(
                    Phase.CONNECT, Reply(0, "", f"ca_file {self._settings.ca_file}: {error}")
                ) from error
        return self._tls

    async def _log_in(self, client: aiosmtplib.SMTP, login: Login | None) -> None:
        settings = self._settings
        if login is None and not settings.username:
            return
        if settings.tls == "off" and not settings.address.is_loopback:
            raise UnreachableError(Phase.AUTH, Reply(0, "", "credentials are not sent in clear"))
        mechanisms = [settings.auth] if settings.auth != "auto" else list(_MECHANISMS)
        if login is None:
            login = Login(settings.username, settings.password.get_secret_value())
            if settings.token is not None:
                mechanisms = ["xoauth2"]
                login = Login(settings.username, settings.token.read())
        elif settings.auth == "xoauth2":
            mechanisms = list(_MECHANISMS)  # a client's credential is a password
        # One mechanism, once: a wrong password tried three times in three ways locks accounts.
        mechanism = next((name for name in mechanisms if name in client.server_auth_methods), None)
        if mechanism is None:
            names = ", ".join(mechanisms).upper()
            raise UnreachableError(Phase.AUTH, Reply(0, "", f"the upstream offers no AUTH {names}"))
        await _auth_method(client, mechanism)(login.username, login.password, timeout=AUTH_S)


def _auth_method(client: aiosmtplib.SMTP, name: str) -> Callable[..., Awaitable[object]]:
    return {
        "plain": client.auth_plain,
        "login": client.auth_login,
        "cram-md5": client.auth_crammd5,
        "xoauth2": client.auth_xoauth2,
    }[name]


def _take_over_transport(client: RecordedSmtp) -> SmtpClientProtocol:
    transport = client.transport
    if transport is None or transport.is_closing():
        raise aiosmtplib.SMTPServerDisconnected("connection lost")
    return SmtpClientProtocol(cast(asyncio.Transport, transport), client.esmtp_extensions, client.record)


async def _start_tls(client: RecordedSmtp, tls: ssl.SSLContext | None) -> None:
    client.record.record_command(b"STARTTLS")
    try:
        reply = await client.starttls(tls_context=tls)
    except aiosmtplib.SMTPResponseException as refusal:
        client.record.record_reply(refusal.code, refusal.message)
        raise
    client.record.record_reply(reply.code, reply.message)
    client.record.note(_describe_connection(client))


def _describe_connection(client: RecordedSmtp) -> str:
    if client.transport is None:
        return "connected"
    peer, tls = map(client.transport.get_extra_info, ("peername", "ssl_object"))
    host = f"[{peer[0]}]:{peer[1]}" if peer and ":" in peer[0] else f"{peer[0]}:{peer[1]}" if peer else "the upstream"
    return f"connected to {host}" + (f", {tls.version()}, {tls.cipher()[0]}" if tls else "")


def _close(client: RecordedSmtp | None) -> None:
    if client:
        client.close()


async def _say_ehlo(client: aiosmtplib.SMTP, name: str) -> None:
    try:
        await client.ehlo(hostname=name, timeout=HELO_S)
    except aiosmtplib.SMTPHeloError:
        if not client.is_connected:
            raise
        await client.helo(hostname=name, timeout=HELO_S)  # RFC 5321 §3.2: an old server


def _reply(error: Exception) -> Reply:
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return replies.parse_reply(max(error.code, 0), error.message)
    if isinstance(error, aiosmtplib.SMTPTimeoutError):
        return Reply(0, "", "timed out")
    return replies.parse_reply(0, str(error) or type(error).__name__)
