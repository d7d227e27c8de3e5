"""Octets as text in URLs, addresses and ids: base64url and base32hex without padding (RFC 4648 §5, §7).

Octets have one spelling only: unused low bits are zero, and base32hex is in lower case. Any other text raises
ValueError when it is read.
"""

import base64
import binascii

_URL_ALPHABET = bytes.maketrans(b"+/", b"-_")


def to_base64url(octets: bytes) -> bytes:
    """The octets in ASCII."""
    return binascii.b2a_base64(octets, newline=False).rstrip(b"=").translate(_URL_ALPHABET)


def from_base64url(text: str) -> bytes:
    """The octets again. Raises ValueError."""
    octets = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if to_base64url(octets) != text.encode():
        raise ValueError("not the one spelling of these octets")
    return octets


def to_base32hex(octets: bytes) -> str:
    """The octets in `0-9a-v`. Texts of one length sort as their octets do."""
    return base64.b32hexencode(octets).decode("ascii").rstrip("=").lower()


def from_base32hex(text: str) -> bytes:
    """The octets again. Raises ValueError."""
    octets = base64.b32hexdecode(text.upper() + "=" * (-len(text) % 8))
    if to_base32hex(octets) != text:
        raise ValueError("not the one spelling of these octets")
    return octets
