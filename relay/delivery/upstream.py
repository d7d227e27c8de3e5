"""Upstreams: kept connections to a server, and which server is whose.

A connection is used again for the next mail, within limits of age, idleness and count. A kept one that
turns out to be dead before the message was sent is replaced once, without anybody noticing.
"""

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import aiosmtplib

from relay import address
from relay import reply as replies
from relay.bounce.classify import Phase
from relay.config import schema
from relay.delivery import transaction
from relay.delivery.schedule import Answer
from relay.delivery.transaction import Broken, Outgoing, Said
from relay.envelope import Login
from relay.reply import Reply

CONNECT_S, HELO_S, AUTH_S = 30.0, 300.0, 60.0  # RFC 5321 §4.5.3.2 has 300 s for the greeting
IDLE_S = 25.0  # many servers hang up after 30 s or more
AGE_S = 300.0
MAILS = 100  # a connection; Postfix upstreams count, Exchange slows down


class _Unreachable(Exception):
    def __init__(self, phase: Phase, reply: Reply) -> None:
        super().__init__(str(reply))
        self.phase = phase
        self.reply = reply


class _Connection(NamedTuple):
    client: aiosmtplib.SMTP
    login: Login | None  # whose it is: mail of another login never goes over it
    born: float
    used: float
    mails: int


class Upstream:
    """One `[[upstream]]` and its connections."""

    def __init__(self, settings: schema.Upstream, hostname: str) -> None:
        self.name = settings.name
        self._settings = settings
        self._hostname = hostname
        self._login = Login(settings.username, settings.password.get_secret_value()) if settings.username else None
        self._idle: dict[Login | None, deque[_Connection]] = {}
        self._room = asyncio.Semaphore(settings.connections)
        self._tls: ssl.SSLContext | None = None

    def serves(self, reverse_path: str) -> bool:
        """True if mail with that reverse-path goes here (`senders`)."""
        return address.matches(reverse_path, self._settings.senders)

    async def send(self, mail: Outgoing) -> list[Answer]:
        """Hands the mail over; one answer for each recipient, in their order."""
        started = time.monotonic()
        async with self._room:
            said = await self._send(mail)
        took_ms = round((time.monotonic() - started) * 1000)
        return [Answer(self.name, one.phase, one.reply, took_ms) for one in said]

    async def probe(self) -> str:
        """Connects, with TLS and login, and sends nothing. Returns the fault, or nothing where all is well."""
        try:
            connection, _ = await self._connection(self._login)
        except _Unreachable as fault:
            return f"{fault.phase}: {fault.reply}"
        self._put_back(connection)
        return ""

    async def try_login(self, login: Login) -> Answer:
        """Logs in and keeps the connection. 235, or what was said instead and in which phase."""
        async with self._room:
            try:
                client = await self._connect(login)
            except _Unreachable as fault:
                return Answer(self.name, fault.phase, fault.reply, 0)
        now = time.monotonic()
        self._put_back(_Connection(client, login, now, now, 0))
        return Answer(self.name, Phase.AUTH, Reply(235, "2.7.0", "authentication succeeded"), 0)

    async def _send(self, mail: Outgoing) -> list[Said]:
        while True:
            try:
                connection, is_kept = await self._connection(mail.login or self._login)
            except _Unreachable as fault:
                return [Said(fault.phase, fault.reply)] * len(mail.recipients)
            try:
                said = await transaction.send(connection.client, mail)
            except Broken as broken:
                if is_kept and all(one.phase is Phase.MAIL for one in broken.said):
                    continue  # it had died while it was kept, and nothing was sent
                return broken.said
            except BaseException:
                connection.client.close()
                raise
            await self._keep(connection, said)
            if is_kept and all(one.phase is Phase.MAIL and one.reply.code == 421 for one in said):
                continue  # it said goodbye while it was kept
            return said

    async def _connection(self, login: Login | None) -> tuple[_Connection, bool]:
        now = time.monotonic()
        while kept := self._take(login):
            if kept.client.is_connected and now - kept.used < IDLE_S and now - kept.born < AGE_S:
                return kept, True
            kept.client.close()  # no goodbye: mail waits
        return _Connection(await self._connect(login), login, now, now, 0), False

    def _take(self, login: Login | None) -> _Connection | None:
        kept = self._idle.get(login)
        taken = kept.pop() if kept else None
        if not kept:
            self._idle.pop(login, None)
        return taken

    def _put_back(self, connection: _Connection) -> None:
        self._idle.setdefault(connection.login, deque()).append(connection)

    async def _keep(self, connection: _Connection, said: Sequence[Said]) -> None:
        mails = connection.mails + 1
        if mails >= MAILS or any(one.reply.code == 421 for one in said) or not connection.client.is_connected:
            await _quit(connection.client)
        else:
            self._put_back(connection._replace(used=time.monotonic(), mails=mails))

    async def _connect(self, login: Login | None) -> aiosmtplib.SMTP:
        settings = self._settings
        try:
            tls = self._context() if settings.tls != "off" else None
        except OSError as error:
            raise _Unreachable(Phase.CONNECT, Reply(0, "", f"ca_file {settings.ca_file}: {error}")) from error
        client = aiosmtplib.SMTP(
            hostname=settings.address.host,
            port=settings.address.port,
            local_hostname=self._hostname,
            use_tls=settings.tls == "implicit",
            start_tls=False,
            tls_context=tls,
            timeout=CONNECT_S,
        )
        phase = Phase.CONNECT
        try:
            await client.connect()
            phase = Phase.HELO
            await _greet(client)
            if settings.tls == "starttls":
                phase = Phase.CONNECT
                if not client.supports_extension("starttls"):
                    raise _Unreachable(phase, Reply(0, "", "the upstream offers no STARTTLS"))
                await client.starttls(tls_context=tls)
                phase = Phase.HELO
                await _greet(client)
            if login:
                phase = Phase.AUTH
                await _log_in(client, login)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            client.close()
            raise _Unreachable(phase, _reply(error)) from error
        except BaseException:
            client.close()
            raise
        return client

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context(cafile=self._settings.ca_file)
        return self._tls

    async def close(self) -> None:
        """Says goodbye on every kept connection."""
        kept = [connection for connections in self._idle.values() for connection in connections]
        self._idle.clear()
        for connection in kept:
            await _quit(connection.client)


class Upstreams:
    """All of them, in the order of the configuration."""

    def __init__(self, settings: Sequence[schema.Upstream], hostname: str) -> None:
        self._all = [Upstream(one, hostname) for one in settings]

    async def send(self, mail: Outgoing) -> list[Answer]:
        """Hands the mail to the first upstream that serves its reverse-path; the next ones take over
        while it cannot be spoken to."""
        answers: list[Answer] = []
        for upstream in self._all:
            if upstream.serves(mail.reverse_path):
                answers = await upstream.send(mail)
                if not all(answer.is_outage for answer in answers):
                    break
        nobody = Reply(0, "", "no [[upstream]] serves this reverse-path (senders)")
        return answers or [Answer("none", Phase.CONNECT, nobody, 0)] * len(mail.recipients)

    async def try_login(self, login: Login, reverse_path: str = "") -> Reply:
        """What the upstream says to those credentials: 235, or its refusal; 454 of ours while it is out.

        The first upstream that serves the reverse-path is asked, the next ones only while it cannot be.
        """
        answer = None
        for upstream in self._all:
            if upstream.serves(reverse_path):
                answer = await upstream.try_login(login)
                reply = answer.reply
                if answer.phase is Phase.AUTH and (reply.accepts or 400 <= reply.code < 600):
                    return reply if reply.status else reply._replace(status=f"{reply.code // 100}.7.0")
        what = f"{answer.phase}: {answer.reply.text}" if answer else "no [[upstream]] serves this reverse-path"
        return Reply(454, "4.7.0", f"the credentials cannot be checked now; try again later ({what})")

    async def close(self) -> None:
        for upstream in self._all:
            await upstream.close()


async def _log_in(client: aiosmtplib.SMTP, login: Login) -> None:
    # One mechanism, once: a wrong password tried three times in three ways locks accounts.
    offered = client.supported_auth_methods
    for mechanism, log_in in (
        ("plain", client.auth_plain),
        ("login", client.auth_login),
        ("cram-md5", client.auth_crammd5),
    ):
        if mechanism in offered:
            await log_in(login.username, login.password, timeout=AUTH_S)
            return
    raise _Unreachable(Phase.AUTH, Reply(0, "", "the upstream offers none of AUTH PLAIN, LOGIN, CRAM-MD5"))


def _reply(error: Exception) -> Reply:
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return replies.read(max(error.code, 0), error.message)
    if isinstance(error, aiosmtplib.SMTPTimeoutError):
        return Reply(0, "", "timed out")
    return replies.read(0, str(error) or type(error).__name__)


async def _greet(client: aiosmtplib.SMTP) -> None:
    try:
        await client.ehlo(timeout=HELO_S)
    except aiosmtplib.SMTPHeloError:
        if not client.is_connected:
            raise
        await client.helo(timeout=HELO_S)  # RFC 5321 §3.2: a server of old


async def _quit(client: aiosmtplib.SMTP) -> None:
    with suppress(aiosmtplib.SMTPException, OSError):
        if client.is_connected:
            await client.quit(timeout=2)
    client.close()
