"""AUTH PLAIN and AUTH LOGIN.  RFC 4954, RFC 4616, draft-murchison-sasl-login.

`SendChallenge` sends a challenge and returns the client's line. Passwords of `[[access.user]]` are verified against
argon2 hashes on threads of their own, never on the event loop.
"""

import asyncio
import base64
import binascii
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from relay import clients, log
from relay.config.smtp import UserConfig
from relay.reply import RefusedError, refusal
from relay.store.console import accounts

SendChallenge = Callable[[bytes], Awaitable[bytes]]
MECHANISMS = ("PLAIN", "LOGIN")
# argon2id takes 64 MB and tens of milliseconds a password. Many clients that guess get no more of the machine than
# this, and those that would have to wait for seconds get a temporary refusal.
_MAX_CONCURRENT, _MAX_WAITING, _MAX_CONCURRENT_BY_ADDRESS = 2, 64, 2


async def run_exchange(mechanism: str, initial: str | None, send_challenge: SendChallenge) -> tuple[str, str]:
    """Name and password, after the challenges that the mechanism needs. Raises RefusedError."""
    if mechanism == "PLAIN":
        response = _decode_base64(initial.encode()) if initial else _decode_base64(await send_challenge(b""))
        parts = response.split(b"\0")
        if len(parts) != 3:
            raise refusal(501, "5.5.2", "the PLAIN response needs three parts (RFC 4616)")
        if parts[0] not in (b"", parts[1]):  # RFC 4616 §2: to act as somebody else
            raise refusal(535, "5.7.8", "authentication failed: nobody may act as another user here")
        return _decode_utf8(parts[1]), _decode_utf8(parts[2])
    if mechanism == "LOGIN":
        name = _decode_base64(initial.encode()) if initial else _decode_base64(await send_challenge(b"Username:"))
        return _decode_utf8(name), _decode_utf8(_decode_base64(await send_challenge(b"Password:")))
    raise refusal(504, "5.5.4", f"mechanism not supported; use {' or '.join(MECHANISMS)}")


class PasswordGuesses:
    """The wrong passwords of each client, and how many of its own are checked at a time."""

    def __init__(self) -> None:
        self._failures = clients.failed_login_limit()
        self._attempts: Counter[str] = Counter()  # by address, those that wait among them
        self._slots: dict[str, asyncio.Semaphore] = {}

    def check_failures(self, ip: str) -> None:
        """Raises RefusedError if the address or a network around it had too many wrong passwords."""
        if self._failures.is_over(ip, time.monotonic()):
            raise refusal(421, "4.7.0", "too many failed logins from your network, try again later")

    @contextlib.asynccontextmanager
    async def password_attempt(self, ip: str) -> AsyncIterator[None]:
        """Holds a place while a password is checked. Clients of one address never take all places."""
        network = clients.networks_of(ip)[0]
        self._attempts[network] += 1
        try:
            async with self._slots.setdefault(network, asyncio.Semaphore(_MAX_CONCURRENT_BY_ADDRESS)):
                self.check_failures(ip)  # others of that address may have failed while this one waited
                yield
        except RefusedError as refusal:
            if refusal.reply.code == 535:
                self._failures.count(ip, time.monotonic())
                log.login_failed("smtp", ip)
            raise
        finally:
            self._attempts[network] -= 1
            if not self._attempts[network]:
                del self._attempts[network], self._slots[network]


class ConfiguredUsers:
    """Checks passwords against the `[[access.user]]` tables."""

    def __init__(self, users: Sequence[UserConfig]) -> None:
        self._hashes = {user.name: user.password_hash for user in users}
        # Verified for a name that does not exist: the same work as for one that does.
        self._decoy = users[0].password_hash if users else None
        self._threads = ThreadPoolExecutor(_MAX_CONCURRENT, "password")
        self._waiting = 0

    async def authenticate(self, name: str, password: str) -> None:
        """Raises RefusedError unless the password is the user's."""
        if self._waiting >= _MAX_WAITING:
            raise refusal(454, "4.7.0", "too many are logging in; please try again")
        stored = self._hashes.get(name)
        self._waiting += 1
        try:
            is_right = await asyncio.get_running_loop().run_in_executor(
                self._threads, accounts.verify_password, stored or self._decoy, password
            )
        finally:
            self._waiting -= 1
        if not (is_right and stored):
            raise refusal(535, "5.7.8", "authentication failed")


def _decode_base64(line: bytes) -> bytes:
    if line == b"*":  # RFC 4954 §4: the client cancels
        raise refusal(501, "5.7.0", "authentication cancelled")
    if line == b"=":  # RFC 4954 §4: an empty initial response
        return b""
    try:
        return base64.b64decode(line, validate=True)
    except binascii.Error:
        raise refusal(501, "5.5.2", "not base64") from None


def _decode_utf8(octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise refusal(501, "5.5.2", "not UTF-8") from None
