"""Addresses under which mail comes back to us: VERP for bounces, and a way to unsubscribe by mail.

`b+TOKEN@domain` is the reverse-path of one delivery, `u+TOKEN@domain` leaves its stream. A token is the message's id,
the recipient's number and a MAC, in base32hex: case may be folded on its way, no personal data stands in it, and
nobody can make one. 39 octets of local part, 41 from the 129th recipient on; RFC 5321 §4.5.3.1.1 allows 64.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple

from relay import address, ids
from relay.address import Mailbox

PURPOSE = "return-path"  # what the key is derived for: `tokens.KeyRing.secret_for`, which outlives rotations
_MAC_OCTETS = 10  # 2^80 guesses, each of which is an SMTP transaction
_LONGEST = 60  # characters of a token


class Purpose(StrEnum):
    """What mail to the address means; the value begins its local part."""

    BOUNCE = "b"
    UNSUBSCRIBE = "u"


class Return(NamedTuple):
    """The delivery that an address speaks of."""

    purpose: Purpose
    message: str
    number: int


class NotOurs(ValueError):
    """No address that we made."""


def mailbox(secret: bytes, domain: str, told: Return) -> Mailbox:
    """The address; the same one on every call."""
    plain = ids.to_octets(told.message) + told.number.to_bytes(1 + told.number.bit_length() // 8, "big")
    return Mailbox(f"{told.purpose}+{_written(plain + _mac(secret, told.purpose, plain))}@{domain}")


def read(secret: bytes, local_part: str) -> Return:
    """What the address's local part says. Raises NotOurs, and tells no one why."""
    purpose, plus, token = local_part.lower().partition("+")
    if not plus or purpose not in set(Purpose) or len(token) > _LONGEST:
        raise NotOurs(local_part)
    try:
        octets = base64.b32hexdecode(token.upper() + "=" * (-len(token) % 8))
    except ValueError:
        raise NotOurs(local_part) from None
    if _written(octets) != token:  # one spelling only: unused low bits are zero
        raise NotOurs(local_part)
    plain, mac = octets[:-_MAC_OCTETS], octets[-_MAC_OCTETS:]
    if len(plain) <= ids.OCTETS or not hmac.compare_digest(mac, _mac(secret, Purpose(purpose), plain)):
        raise NotOurs(local_part)
    return Return(Purpose(purpose), ids.from_octets(plain[: ids.OCTETS]), int.from_bytes(plain[ids.OCTETS :], "big"))


def find(secret: bytes, domain: str, text: str) -> Return | None:
    """What the first address of ours in the text says; None if there is none that is authentic."""
    return first_authentic(secret, candidates(domain, text))


def candidates(domain: str, text: str) -> Iterator[str]:
    """The local parts in the text that may be ours."""
    pattern = rf"\b([bu]\+[0-9a-v]{{20,{_LONGEST}}})@{re.escape(domain)}\b"
    return (found[1] for found in re.finditer(pattern, text, re.IGNORECASE))


def first_authentic(secret: bytes, local_parts: Iterable[str]) -> Return | None:
    """What the first of them says that is ours; None if none is."""
    for local_part in local_parts:
        try:
            return read(secret, local_part)
        except NotOurs:
            continue
    return None


def is_at(domain: str, recipient: str) -> bool:
    """True if the recipient's domain is the return path's; never where there is none."""
    return bool(domain) and address.domain(recipient) == domain


def _written(octets: bytes) -> str:
    return base64.b32hexencode(octets).decode("ascii").rstrip("=").lower()


def _mac(secret: bytes, purpose: Purpose, plain: bytes) -> bytes:
    return hmac.digest(secret, purpose.encode() + plain, hashlib.sha256)[:_MAC_OCTETS]
