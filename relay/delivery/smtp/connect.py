"""From an `[[upstream]]` table to an open connection: TCP, TLS, EHLO, AUTH.

aiosmtplib does these; then the connection is handed to a Wire, for it has no pipelining.  RFC 5321 §3.1,
RFC 3207 (no STARTTLS, no mail, where it is wanted), RFC 4954 (one mechanism, once).
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable

import aiosmtplib

from relay import reply as replies
from relay.bounce.classify import Phase
from relay.config import smtp
from relay.delivery.smtp import helo_name
from relay.delivery.smtp.protocol import Wire
from relay.envelope import Login
from relay.reply import Reply

HELO_S, AUTH_S = 300.0, 120.0
_OFFERED = ("plain", "login", "cram-md5")  # in that order: under TLS none is safer than the first


class Unreachable(Exception):
    """The upstream cannot be spoken to: in which phase, and what it said. Code 0: it said nothing."""

    def __init__(self, phase: Phase, reply: Reply, *, is_known: bool = False) -> None:
        super().__init__(f"{phase}: {reply}")
        self.phase = phase
        self.reply = reply
        self.is_known = is_known  # from before: nothing was tried


class Dialler:
    """Opens connections to one upstream."""

    def __init__(self, settings: smtp.UpstreamConfig, hostname: str) -> None:
        self._settings = settings
        self._hostname = hostname
        self._tls: ssl.SSLContext | None = None

    async def dial(self, login: Login | None) -> Wire:
        """A connection that is ready for MAIL, logged in with those credentials; without any, with the
        configured ones if there are some. Raises Unreachable."""
        phase = Phase.CONNECT
        client: aiosmtplib.SMTP | None = None
        try:
            tls = self._context()
            client = self._client(tls)
            await self._connect(client)
            phase = Phase.HELO
            name = await helo_name.ehlo_name(self._hostname, client.transport)
            await _greet(client, name)
            if self._settings.tls == "starttls":
                phase = Phase.CONNECT
                if not client.supports_extension("starttls"):
                    raise Unreachable(phase, Reply(0, "", "the upstream offers no STARTTLS"))
                await client.starttls(tls_context=tls)
                phase = Phase.HELO
                await _greet(client, name)
            phase = Phase.AUTH
            await self._log_in(client, login)
            return _hand_over(client)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            if client:
                client.close()
            raise Unreachable(phase, _reply(error)) from error
        except BaseException:
            if client:
                client.close()
            raise

    def _client(self, tls: ssl.SSLContext | None) -> aiosmtplib.SMTP:
        settings = self._settings
        return aiosmtplib.SMTP(
            hostname=settings.address.host,
            port=settings.address.port,
            local_hostname=self._hostname,
            use_tls=settings.tls == "implicit",
            start_tls=False,
            tls_context=tls,
            timeout=settings.connect_timeout.total_seconds(),
        )

    async def _connect(self, client: aiosmtplib.SMTP) -> None:
        """To the end of the greeting. Servers that put spammers off greet after half a minute and more, and RFC 5321
        §4.5.3.2.1 gives them five; a connection that does not come about has less time."""
        settings = self._settings
        connecting = asyncio.ensure_future(client.connect(timeout=settings.greeting_timeout.total_seconds()))
        try:
            await asyncio.wait({connecting}, timeout=settings.connect_timeout.total_seconds())
            if not connecting.done() and client.transport is None:
                raise aiosmtplib.SMTPConnectTimeoutError("no connection")
            await connecting
        finally:
            if not connecting.done():
                connecting.cancel()
                await asyncio.gather(connecting, return_exceptions=True)

    def _context(self) -> ssl.SSLContext | None:
        if self._settings.tls != "off" and self._tls is None:
            try:
                self._tls = ssl.create_default_context(cafile=self._settings.ca_file)
            except OSError as error:
                raise Unreachable(Phase.CONNECT, Reply(0, "", f"ca_file {self._settings.ca_file}: {error}")) from error
        return self._tls

    async def _log_in(self, client: aiosmtplib.SMTP, login: Login | None) -> None:
        settings = self._settings
        if login is None and not settings.username:
            return
        if settings.tls == "off" and not settings.address.is_loopback:
            raise Unreachable(Phase.AUTH, Reply(0, "", "credentials are not sent in clear"))
        wanted = [settings.auth] if settings.auth != "auto" else list(_OFFERED)
        if login is None:
            login = Login(settings.username, settings.password.get_secret_value())
            if settings.token is not None:
                wanted = ["xoauth2"]
                login = Login(settings.username, settings.token.read())
        elif settings.auth == "xoauth2":
            wanted = list(_OFFERED)  # what a client gave is a password
        # One mechanism, once: a wrong password tried three times in three ways locks accounts.
        mechanism = next((name for name in wanted if name in client.server_auth_methods), None)
        if mechanism is None:
            names = ", ".join(wanted).upper()
            raise Unreachable(Phase.AUTH, Reply(0, "", f"the upstream offers no AUTH {names}"))
        await _mechanism(client, mechanism)(login.username, login.password, timeout=AUTH_S)


def _mechanism(client: aiosmtplib.SMTP, name: str) -> Callable[..., Awaitable[object]]:
    return {
        "plain": client.auth_plain,
        "login": client.auth_login,
        "cram-md5": client.auth_crammd5,
        "xoauth2": client.auth_xoauth2,
    }[name]


def _hand_over(client: aiosmtplib.SMTP) -> Wire:
    transport = client.transport
    if not isinstance(transport, asyncio.Transport) or transport.is_closing():
        raise aiosmtplib.SMTPServerDisconnected("connection lost")
    return Wire(transport, client.esmtp_extensions)


async def _greet(client: aiosmtplib.SMTP, name: str) -> None:
    try:
        await client.ehlo(hostname=name, timeout=HELO_S)
    except aiosmtplib.SMTPHeloError:
        if not client.is_connected:
            raise
        await client.helo(hostname=name, timeout=HELO_S)  # RFC 5321 §3.2: a server of old


def _reply(error: Exception) -> Reply:
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return replies.parse_reply(max(error.code, 0), error.message)
    if isinstance(error, aiosmtplib.SMTPTimeoutError):
        return Reply(0, "", "timed out")
    return replies.parse_reply(0, str(error) or type(error).__name__)
