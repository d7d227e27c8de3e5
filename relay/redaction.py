"""Find and remove strings that identify an address: the address itself, and its hashes and encodings.

In: addresses, and texts that may quote them.  Out: the identifying strings, and the texts without them. Addresses are
found in the spellings of links, reports and people: percent-encoded (also twice), as HTML entities, `ann (at) …`.
Time is linear in the text, because strangers write it.
"""

import base64
import hashlib
import html
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from urllib.parse import unquote

from relay import address

REDACTED = "…"  # replaces an address
_STOPS = r"""\s<>()\[\]{}"',;:&?/=#@＠"""  # what ends either half of an address
_HALF = rf"(?:[^{_STOPS}%]|%(?!(?:25)*40|20)[0-9a-f]{{2}})++"
_AT = r"(?:@|＠|%(?:25)*40|&#0*64;?|&#x0*40;?|&commat;?)"
# Words that say so: a host must follow, for "look at that" names nobody.
_BLANK = r"(?:\s|\+|%20)"
_AT_IN_WORDS = (
    rf"(?:{_BLANK}{{0,3}}[(\[{{]\s{{0,3}}(?:a|at|ät)\s{{0,3}}[)\]}}]{_BLANK}{{0,3}}|{_BLANK}{{1,3}}at{_BLANK}{{1,3}})"
    r"(?=[\w-]{1,63}\.[\w-]{0,63}[a-z])"
)
_ADDRESS = re.compile(rf"(?<![^{_STOPS}]){_HALF}(?:{_AT}|{_AT_IN_WORDS}){_HALF}", re.IGNORECASE)
# `a@b@c` too, of which a part would still look like one.
_ADDRESSES = re.compile(rf"(?<![^{_STOPS}]){_HALF}(?:(?:{_AT}|{_AT_IN_WORDS}){_HALF})++", re.IGNORECASE)
_ANY_AT = re.compile(f"{_AT}|{_AT_IN_WORDS}", re.IGNORECASE)
_VERP = re.compile(r"(?<==)[\w.+~-]++=[\w-]++(?:\.[\w-]++)+")  # a parameter's value that is `ann=example.com`
# Where a text may name somebody, the widest first: address, VERP's `ann=example.com`, hashes and base64, a word.
_TOKENS = (
    _ADDRESS,
    re.compile(r"(?<![\w.+~-])[\w.+~-]++=[\w.-]+"),
    re.compile(r"(?<![\w.])[\w.]++=[\w.-]+"),
    re.compile(r"[\w.+~/-]+"),
    re.compile(r"[\w.-]+"),
    re.compile(r"\w+"),
)
_RUN = re.compile(r"\S+")
_PIECE = re.compile(r"([/?&])")  # of a URL
_JOINT = re.compile("[=@]")
_HOST = re.compile(r"[\w.-]{1,255}")
_MAX_LOCAL_PART = 64  # octets; RFC 5321 §4.5.3.1.1
_MAX_DECODINGS = 4  # times


def identifying_strings(mailboxes: Iterable[str], *, with_local_part: bool = False) -> frozenset[str]:
    """The strings in lower case that identify the addresses: in clear, as VERP writes them, encoded, or hashed
    without a key, as links in newsletters often have them."""
    found: set[str] = set()
    for mailbox in mailboxes:
        local, at, domain = mailbox.rpartition("@")
        if not at:
            continue
        canonical = address.canonical(mailbox)
        found |= {mailbox.lower(), canonical, f"{local}%40{domain}".lower(), f"{local}={domain}".lower()}
        for octets in {mailbox.encode("utf-8", "replace"), canonical.encode("utf-8", "replace")}:
            for name in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512"):
                digest = hashlib.new(name, octets, usedforsecurity=False).digest()
                found |= {digest.hex(), *_base64(digest)}
            found |= {octets.hex(), *_base64(octets)}
        if with_local_part and len(local) > 1:
            found.add(local.lower())
    return frozenset(found)


def redact(text: str, identifying: frozenset[str]) -> str:
    """The text with every such string replaced."""
    if not identifying or not text:
        return text
    for pattern in _TOKENS:
        text = pattern.sub(lambda token: REDACTED if _is_identifying(token[0], identifying) else token[0], text)
    return _RUN.sub(lambda run: _redact_encoded(run[0], identifying), text)


def contains_any(text: str, identifying: frozenset[str]) -> bool:
    """True if the text, as it is or decoded, contains such a string."""
    return redact(text, identifying) != text


def redact_addresses(text: str) -> str:
    """The text with everything that looks like an address replaced."""
    return _VERP.sub(REDACTED, _ADDRESSES.sub(REDACTED, text))


def _is_identifying(token: str, identifying: frozenset[str]) -> bool:
    token = _ANY_AT.sub("@", token.lower())
    return token in identifying or token.strip(".-=") in identifying


def _redact_encoded(run: str, identifying: frozenset[str]) -> str:
    """The run of characters without the pieces that identify somebody once they are decoded. If only the whole run
    does, all of it is replaced."""
    if not _has_encoded(run, identifying):
        return run
    rest = "".join(REDACTED if _has_encoded(piece, identifying) else piece for piece in _PIECE.split(run))
    return REDACTED if _has_encoded(rest, identifying) else rest


def _has_encoded(run: str, identifying: frozenset[str]) -> bool:
    decoded = run
    for _ in range(_MAX_DECODINGS):
        before, decoded = decoded, unquote(html.unescape(decoded))
        if decoded == before:
            break
    if decoded != run:
        for pattern in _TOKENS:
            if any(_is_identifying(token, identifying) for token in pattern.findall(decoded)):
                return True
    return any(
        mailbox in identifying for mailbox in _mailboxes(_ANY_AT.sub("@", decoded.lower()), _domains(identifying))
    )


@lru_cache(maxsize=64)  # asked for each word of a mail
def _domains(identifying: frozenset[str]) -> frozenset[str]:
    return frozenset(word.rpartition("@")[2] for word in identifying if "@" in word)


def _mailboxes(text: str, domains: frozenset[str]) -> Iterator[str]:
    """What may be an address within the text, whatever stands before it: `bounce-ann=example.com`, `a=ann=…`."""
    for joint in _JOINT.finditer(text):
        host = _HOST.match(text, joint.end())
        if host is None:
            continue
        domain, local = host[0].strip(".-"), text[max(joint.start() - _MAX_LOCAL_PART, 0) : joint.start()]
        if domain not in domains:
            continue
        for at in range(len(local)):
            if at == 0 or not local[at - 1].isalnum():
                yield f"{local[at:]}@{domain}"


def _base64(octets: bytes) -> set[str]:
    encoded = (base64.b64encode(octets), base64.urlsafe_b64encode(octets))
    return {text.decode("ascii").rstrip("=").lower() for text in encoded}
