"""Addresses at our domain to which mail comes back: VERP for bounces, and for unsubscribing by mail.

`b+TOKEN@domain` is the reverse-path of one delivery, `u+TOKEN@domain` leaves its stream. A token is the message's id,
the recipient's number and a MAC, in base32hex: its case may change on the way, it holds no personal data, and
nobody else can make one. 39 octets of local part, 41 from the 129th recipient on; RFC 5321 §4.5.3.1.1 allows 64.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple

from relay import address, base_encoding, ids
from relay.address import Mailbox

KEY_PURPOSE = "return-path"  # what the key is derived for: `tokens.KeyRing.derive_secret`, which outlives rotations
_MAC_OCTETS = 10  # a forger needs 2^80 guesses, each an SMTP transaction
_MAX_TOKEN = 60  # characters of a token


class Purpose(StrEnum):
    """What mail to the address means; the value begins its local part."""

    BOUNCE = "b"
    UNSUBSCRIBE = "u"


class ReturnToken(NamedTuple):
    """The delivery that an address of the return path belongs to."""

    purpose: Purpose
    message: str
    number: int


class NotOurAddressError(ValueError):
    """We did not make this address."""


def make_mailbox(secret: bytes, domain: str, token: ReturnToken) -> Mailbox:
    """The address; the same one on every call."""
    plain = ids.to_octets(token.message) + token.number.to_bytes(1 + token.number.bit_length() // 8, "big")
    return Mailbox(f"{token.purpose}+{base_encoding.to_base32hex(plain + _mac(secret, token.purpose, plain))}@{domain}")


def parse_local_part(secret: bytes, local_part: str) -> ReturnToken:
    """The token in the address's local part. Raises NotOurAddressError, without the reason."""
    purpose, plus, token = local_part.lower().partition("+")
    if not plus or purpose not in set(Purpose) or len(token) > _MAX_TOKEN:
        raise NotOurAddressError(local_part)
    try:
        octets = base_encoding.from_base32hex(token)
    except ValueError:
        raise NotOurAddressError(local_part) from None
    plain, mac = octets[:-_MAC_OCTETS], octets[-_MAC_OCTETS:]
    if len(plain) <= ids.OCTETS or not hmac.compare_digest(mac, _mac(secret, Purpose(purpose), plain)):
        raise NotOurAddressError(local_part)
    return ReturnToken(
        Purpose(purpose), ids.from_octets(plain[: ids.OCTETS]), int.from_bytes(plain[ids.OCTETS :], "big")
    )


def find_in_text(secret: bytes, domain: str, text: str) -> ReturnToken | None:
    """The token of the first authentic address of ours in the text; None if there is none."""
    return find_authentic(secret, find_candidates(domain, text))


def find_candidates(domain: str, text: str) -> Iterator[str]:
    """The local parts in the text that may be ours."""
    pattern = rf"\b([bu]\+[0-9a-v]{{20,{_MAX_TOKEN}}})@{re.escape(domain)}\b"
    return (found[1] for found in re.finditer(pattern, text, re.IGNORECASE))


def find_authentic(secret: bytes, local_parts: Iterable[str]) -> ReturnToken | None:
    """The first authentic token among the local parts; None if there is none."""
    for local_part in local_parts:
        try:
            return parse_local_part(secret, local_part)
        except NotOurAddressError:
            continue
    return None


def is_return_address(domain: str, recipient: str) -> bool:
    """True if the recipient's domain is the return path's; False if there is no return path."""
    return bool(domain) and address.domain(recipient) == domain


def _mac(secret: bytes, purpose: Purpose, plain: bytes) -> bytes:
    return hmac.digest(secret, purpose.encode() + plain, hashlib.sha256)[:_MAC_OCTETS]
