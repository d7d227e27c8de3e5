"""What leads to an address: the address itself, and what others make of it.

In: addresses, and texts that may quote them.  Out: the words that would give them away, and the texts without those.
"""

import base64
import hashlib
import re
from collections.abc import Iterable
from urllib.parse import unquote

from relay import address

GONE = "…"  # stands where an address stood
_ADDRESS = re.compile(r"""[^\s<>()\[\]"',;:&?/=#@%]+(?:@|%40)[^\s<>()\[\]"',;:&?/=#@%]+""", re.IGNORECASE)
# Where a text may name somebody, the widest first: address, VERP's `ann=example.com`, hashes and base64, a word.
_TOKENS = (
    _ADDRESS,
    re.compile(r"[\w.+~-]+=[\w.-]+"),
    re.compile(r"[\w.]+=[\w.-]+"),
    re.compile(r"[\w.+~/-]+"),
    re.compile(r"[\w.-]+"),
    re.compile(r"\w+"),
)


def words(mailboxes: Iterable[str], *, with_local_part: bool = False) -> frozenset[str]:
    """The words in lower case that lead to the addresses: in clear, as VERP writes them, encoded, or hashed without
    a key, as newsletters' links often have them."""
    found: set[str] = set()
    for mailbox in mailboxes:
        local, at, domain = mailbox.rpartition("@")
        if not at:
            continue
        found |= {mailbox.lower(), f"{local}%40{domain}".lower(), f"{local}={domain}".lower()}
        for octets in {mailbox.encode("utf-8", "replace"), address.canonical(mailbox).encode("utf-8", "replace")}:
            for name in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512"):
                digest = hashlib.new(name, octets, usedforsecurity=False).digest()
                found |= {digest.hex(), *_base64(digest)}
            found |= {octets.hex(), *_base64(octets)}
        if with_local_part and len(local) > 1:
            found.add(local.lower())
    return frozenset(found)


def scrubbed(text: str, unwanted: frozenset[str]) -> str:
    """The text with every such word replaced."""
    if not unwanted or not text:
        return text
    for pattern in _TOKENS:
        text = pattern.sub(lambda token: GONE if _is_in(token[0], unwanted) else token[0], text)
    return text


def stand_in(text: str, unwanted: frozenset[str]) -> bool:
    """True if the text, or what it is when percent-decoded, has such a word."""
    return bool(unwanted) and any(scrubbed(form, unwanted) != form for form in {text, unquote(text)})


def without_addresses(text: str) -> str:
    """The text with everything that looks like an address replaced."""
    return _ADDRESS.sub(GONE, text)


def _is_in(token: str, unwanted: frozenset[str]) -> bool:
    token = token.lower()
    return token in unwanted or token.strip(".-=") in unwanted


def _base64(octets: bytes) -> set[str]:
    encoded = (base64.b64encode(octets), base64.urlsafe_b64encode(octets))
    return {text.decode("ascii").rstrip("=").lower() for text in encoded}
