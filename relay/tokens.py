"""Tokens: what a tracking URL carries, so that links work without a database.

A token is `version, key id, SIV, ciphertext` in base64url. Its plaintext is the message's id, the
recipient's number, the link's number and, for a click, the destination. AES-SIV (RFC 5297) keeps it
secret and authentic, and gives the same token on every retry. Keys differ by kind (HKDF, RFC 5869),
so a token of one kind is nothing in another's place. No address stands in it, not even encrypted.

Measured: an open token has 42 or 43 characters, a click token 44 to 46 plus 4/3 of the destination.
"""

import base64
import binascii
import hmac
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from relay import ids, key_file, return_path, token_payload
from relay.address import Mailbox
from relay.edits import STORED, Hole, Kind, Mint
from relay.key_file import Key, KeyFile, RevokedKey
from relay.return_path import Purpose, Return

VERSION = 1
_TOKEN = re.compile(r"[A-Za-z0-9_-]*+")
LONGEST_URL = 900  # octets of a whole tracking URL (DESIGN §7); longer ones break in some clients
LONGEST_DESTINATION = 8192  # octets of one that is stored; few servers take a longer request line
REFERENCE_OCTETS = 16
_MARK = {Kind.OPEN: b"open", Kind.CLICK: b"click", Kind.UNSUBSCRIBE: b"unsubscribe"}
_KEY_OCTETS = 32  # AES-128-SIV takes two keys of 16
_OVERHEAD = 2 + 16  # version, key id, SIV
_RELOAD_AFTER_S = 5.0
# Of these the oldest key's secret stays when it is revoked: pseudonyms are all that is known of who left, and cannot be
# made again under another key without the addresses.
LASTING = ("people",)

PIXEL = (1 << 28) - 2  # stands in a stand-alone pixel's token, whose message is the pixel
EVERYBODY = (1 << 28) - 1  # the number in a token that is the same for all recipients; no message has so many


class Token(NamedTuple):
    """What a token says."""

    kind: Kind
    message: str
    recipient: int  # the recipient's number in the message, from 0; EVERYBODY: the mail tells them not apart
    link: int  # from 1; 0 where there is none
    url: bytes  # a click's destination, octet for octet, or `stored:` and a reference; empty for other kinds

    @property
    def stored(self) -> bytes:
        """The reference under which `relay.store.queue.long_urls` has the destination; empty where the token has it."""
        return self.url[len(STORED) :] if self.url.startswith(STORED) else b""


class BadToken(ValueError):
    """Not a token of ours: malformed, tampered with, of another kind, or signed with a key we never had."""


class KeyRing:
    """The keys of an installation, oldest first. The last one signs; all of them read."""

    def __init__(
        self, keys: Sequence[Key], path: Path | None = None, lasting: Mapping[str, bytes] | None = None
    ) -> None:
        self._path = path
        self._checked_at = time.monotonic()
        self._set(KeyFile(tuple(keys), (), lasting or {}))

    def _set(self, found: KeyFile) -> None:
        if not found.keys:
            raise ValueError("a key ring needs a key")
        self.keys = found.keys
        self._lasting = found.lasting
        self._by_id = {key.id: key for key in found.keys}
        self._stamp = key_file.stamp(self._path)

    @property
    def current(self) -> Key:
        """The key that signs."""
        self._refresh()
        return self.keys[-1]

    def find(self, key_id: int) -> Key | None:
        self._refresh()
        if key_id not in self._by_id:
            self._reload()
        return self._by_id.get(key_id)

    def _refresh(self) -> None:
        """Sees within seconds what another process did: a rotation, or a key that was revoked."""
        now = time.monotonic()
        if now - self._checked_at > _RELOAD_AFTER_S:
            self._checked_at = now
            self._reload()

    def _reload(self) -> None:
        if self._path and key_file.stamp(self._path) not in (None, self._stamp):
            self._set(key_file.read(self._path))

    def secret_for(self, purpose: str) -> bytes:
        """32 octets for a use of our own outside tokens (the return path, say), from the oldest key, so that a rotation
        does not end them; of a purpose in LASTING the same for ever."""
        self._refresh()
        return self._lasting.get(purpose) or _derive(self.keys[0].secret, purpose.encode())

    def reference(self, url: bytes) -> bytes:
        """16 octets that stand for a destination too long for a token: the same for equal URLs, for as long as the
        oldest key is there, and nobody's to compute without it (RFC 2104)."""
        self._refresh()
        key = _reference_key(self.keys[0].secret)
        return hmac.digest(key, url, "sha256")[:REFERENCE_OCTETS]

    def mint(self, hole: Hole, message: str, recipient: int) -> str:
        """The token for that hole, message id and recipient; the same text on every call."""
        key = self.current
        plain = ids.to_octets(message) + token_payload.varint(recipient) + token_payload.varint(hole.link)
        if hole.kind is Kind.CLICK:
            plain += token_payload.refer(self.reference(hole.stored)) if hole.stored else token_payload.pack(hole.url)
        head = bytes((VERSION, key.id))
        return _b64(head + _cipher(key.secret, hole.kind).encrypt(plain, [head]))

    def read(self, kind: Kind, text: str) -> Token:
        """What the token says. Raises BadToken, and tells no one why."""
        try:
            octets = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (ValueError, binascii.Error):
            raise BadToken("not base64url") from None
        # One spelling only: unused low bits must be zero.
        if len(octets) <= _OVERHEAD or octets[0] != VERSION or _b64(octets) != text:
            raise BadToken("not a token")
        key = self.find(octets[1])
        if key is None:
            raise BadToken("no such key")
        try:
            plain = _cipher(key.secret, kind).decrypt(octets[2:], [octets[:2]])
        except InvalidTag:
            raise BadToken("not authentic") from None
        message = ids.from_octets(plain[: ids.OCTETS])
        recipient, at = token_payload.read_varint(plain, ids.OCTETS)
        link, at = token_payload.read_varint(plain, at)
        return Token(kind, message, recipient, link, token_payload.unpack(plain[at:]) if kind is Kind.CLICK else b"")


@dataclass(frozen=True, slots=True)
class Minter:
    """Makes the URLs of one installation."""

    ring: KeyRing
    public_url: str  # without a final slash
    has_recipient_tokens: bool = True  # False: all recipients of a message get the same URLs

    def url(self, hole: Hole, message: str, recipient: int) -> bytes:
        """The tracking URL: printable ASCII without any of & " ' < > = or space (DESIGN R8). So is the address."""
        if hole.kind is Kind.UNSUBSCRIBE and hole.url:
            return self._mailbox(hole.url.decode(), Return(Purpose.UNSUBSCRIBE, message, recipient)).encode("ascii")
        suffix = ".gif" if hole.kind is Kind.OPEN else ""
        recipient = recipient if self.has_recipient_tokens else EVERYBODY
        return f"{self.public_url}/{hole.kind}/{self.ring.mint(hole, message, recipient)}{suffix}".encode("ascii")

    def reverse_path(self, domain: str, message: str, recipient: int) -> Mailbox:
        """The address at that domain to which bounces of this delivery come."""
        return self._mailbox(domain, Return(Purpose.BOUNCE, message, recipient))

    def _mailbox(self, domain: str, told: Return) -> Mailbox:
        return return_path.mailbox(self.ring.secret_for(return_path.PURPOSE), domain, told)

    def urls_of(self, message: str, recipient: int) -> Mint:
        """What fills the holes of that message for that recipient."""
        return lambda hole: self.url(hole, message, recipient)


def click_url_octets(public_url: str, destination: bytes) -> int:
    """The length that a click URL for this destination can have at most, in octets."""
    plain = ids.OCTETS + 3 + 3 + len(token_payload.pack(destination))
    return len(public_url) + len("/c/") + -(-4 * (_OVERHEAD + plain) // 3)


def open_ring(path: Path) -> KeyRing:
    """The key ring in this file; makes it with a first key where there is none.

    Safe when several processes start at once. Raises OSError, and ValueError for a damaged file.
    """
    if not path.exists():
        key_file.write(path, KeyFile((KeyFile(()).new_key(),)), only_if_absent=True)
    found = key_file.read(path)
    return KeyRing(found.keys, path, found.lasting)


def rotate(path: Path) -> Key:
    """Adds a key that signs from now on; the old ones go on reading. Raises OSError, ValueError."""
    open_ring(path)
    found = key_file.read(path)
    key = found.new_key()
    key_file.write(path, found._replace(keys=(*found.keys, key)))
    return key


def revoke(path: Path, key_id: int) -> Key:
    """Takes the key away, with all that hangs on it but what LASTING names. Returns the key that signs from now on, a
    new one if it was the last. Raises OSError, ValueError."""
    found = key_file.read(path)
    gone = next((key for key in found.keys if key.id == key_id), None)
    if gone is None:
        raise ValueError(f"there is no key {key_id}")
    revoked = (*found.revoked, RevokedKey(gone.id, gone.created, key_file.now()))
    lasting = dict(found.lasting)
    if gone == found.keys[0]:
        lasting = {purpose: _derive(gone.secret, purpose.encode()) for purpose in LASTING} | lasting
    left = tuple(key for key in found.keys if key != gone)
    if gone == found.keys[-1]:
        left = (*left, found.new_key())
    key_file.write(path, KeyFile(left, revoked, lasting))
    return left[-1]


def revoked(path: Path) -> tuple[RevokedKey, ...]:
    """The keys that were, oldest first. Raises OSError, ValueError."""
    return key_file.read(path).revoked


def without_rest(text: str) -> str:
    """The token that the text begins with. Mail programs and readers take along what stands behind a link: a full stop,
    a bracket, a quotation mark of any script, `&fbclid=…`; none of it is base64url at its first character."""
    found = _TOKEN.match(text)
    return found[0] if found else ""


def _derive(secret: bytes, purpose: bytes) -> bytes:
    return HKDF(hashes.SHA256(), _KEY_OCTETS, salt=None, info=b"waypost/1/" + purpose).derive(secret)


@lru_cache(maxsize=16)
def _reference_key(secret: bytes) -> bytes:
    return _derive(secret, b"destination")


@lru_cache(maxsize=1024)
def _cipher(secret: bytes, kind: Kind) -> AESSIV:
    return AESSIV(_derive(secret, _MARK[kind]))


def _b64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode("ascii").rstrip("=")
