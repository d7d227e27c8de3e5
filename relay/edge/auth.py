"""AUTH PLAIN and AUTH LOGIN.  RFC 4954, RFC 4616, draft-murchison-sasl-login.

The exchange is here; `Ask` sends a challenge and returns the client's line. Passwords are verified
against argon2id hashes on a thread, never on the event loop.
"""

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable

from relay.edge.policy import Policy
from relay.reply import refused
from relay.store import accounts

Ask = Callable[[bytes], Awaitable[bytes]]
MECHANISMS = ("PLAIN", "LOGIN")


async def exchange(mechanism: str, initial: str | None, ask: Ask) -> tuple[str, str]:
    """Name and password, after as many challenges as the mechanism wants. Raises Refused."""
    if mechanism == "PLAIN":
        response = _decode(initial.encode()) if initial else _decode(await ask(b""))
        parts = response.split(b"\0")
        if len(parts) != 3:
            raise refused(501, "5.5.2", "the PLAIN response needs three parts (RFC 4616)")
        return _text(parts[1]), _text(parts[2])
    if mechanism == "LOGIN":
        name = _decode(initial.encode()) if initial else _decode(await ask(b"Username:"))
        return _text(name), _text(_decode(await ask(b"Password:")))
    raise refused(504, "5.5.4", f"mechanism not supported; use {' or '.join(MECHANISMS)}")


async def check(policy: Policy, name: str, password: str) -> None:
    """Raises Refused unless the password is the user's. As slow for a name that does not exist."""
    user = policy.user(name)
    stored = user.password_hash if user else None
    if not await asyncio.to_thread(accounts.verify, stored, password):
        raise refused(535, "5.7.8", "authentication failed")


def _decode(line: bytes) -> bytes:
    if line == b"*":  # RFC 4954 §4: the client cancels
        raise refused(501, "5.7.0", "authentication cancelled")
    if line == b"=":  # RFC 4954 §4: an empty initial response
        return b""
    try:
        return base64.b64decode(line, validate=True)
    except binascii.Error:
        raise refused(501, "5.5.2", "not base64") from None


def _text(octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise refused(501, "5.5.2", "not UTF-8") from None
