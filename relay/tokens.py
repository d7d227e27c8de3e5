"""Tokens of tracking URLs, so that links work without a database.

A token is `version, key id, SIV, ciphertext` in base64url. Its plaintext is the message's id, the
recipient's number, the link's number and, for a click, the destination. AES-SIV (RFC 5297) keeps it
secret and authentic, and makes the same token on every retry. Keys differ by kind (HKDF, RFC 5869),
so that a token of one kind is invalid as another. It contains no address, not even encrypted.

Measured: an open token has 42 or 43 characters, a click token 44 to 46 plus 4/3 of the destination.
"""

import hmac
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from relay import base_encoding, ids, key_derivation, key_file, return_path, token_payload
from relay.address import Mailbox
from relay.edits import STORED_PREFIX, Hole, Kind, Mint
from relay.key_file import KeyFile, MasterKey, RevokedKey
from relay.return_path import Purpose, ReturnToken

VERSION = 1
_TOKEN = re.compile(r"[A-Za-z0-9_-]*+")
MAX_URL_OCTETS = 900  # octets of a whole tracking URL; longer ones break in some clients
MAX_DESTINATION_OCTETS = 8192  # octets of one that is stored; few servers take a longer request line
REFERENCE_OCTETS = 16
_KIND_LABEL = {Kind.OPEN: b"open", Kind.CLICK: b"click", Kind.UNSUBSCRIBE: b"unsubscribe"}
_KEY_PURPOSE = b"waypost/1/"
_OVERHEAD = 2 + 16  # version, key id, SIV
_RELOAD_AFTER_S = 5.0
# Secrets for these purposes stay when the oldest key is revoked: pseudonyms are all that is known of people who have
# unsubscribed, and cannot be made again under another key without the addresses.
LASTING_PURPOSES = ("people",)

STANDALONE_PIXEL = (1 << 28) - 2  # the number in the token of a stand-alone pixel, whose id stands for the message's
ANY_RECIPIENT = (1 << 28) - 1  # the number in a token that is the same for all recipients; no message has so many


class Token(NamedTuple):
    """The content of a token."""

    kind: Kind
    message: str
    recipient: int  # the recipient's number in the message, from 0; ANY_RECIPIENT: all have the same URL
    link: int  # from 1; 0 if there is none
    url: bytes  # a click's destination, octet for octet, or `stored:` and a reference; empty for other kinds

    @property
    def stored_reference(self) -> bytes:
        """The reference under which `relay.store.queue.long_urls` has the destination; empty if the token has it."""
        return self.url[len(STORED_PREFIX) :] if self.url.startswith(STORED_PREFIX) else b""


class InvalidTokenError(ValueError):
    """Not a token of ours: malformed, tampered with, of another kind, or signed with a key we never had."""


class KeyRing:
    """The keys of an installation, oldest first. The last one signs; all of them read."""

    def __init__(
        self, keys: Sequence[MasterKey], path: Path | None = None, lasting_secrets: Mapping[str, bytes] | None = None
    ) -> None:
        self._path = path
        self._checked_at = time.monotonic()
        self._set_keys(KeyFile(tuple(keys), (), lasting_secrets or {}))

    def _set_keys(self, contents: KeyFile) -> None:
        if not contents.keys:
            raise ValueError("a key ring needs a key")
        self.keys = contents.keys
        self._lasting_secrets = contents.lasting_secrets
        self._by_id = {key.id: key for key in contents.keys}
        self._stamp = key_file.file_stamp(self._path)
        self._signers: dict[Kind, tuple[bytes, AESSIV]] = {}  # the head of each token of a kind, and what encrypts it

    def find_key(self, key_id: int) -> MasterKey | None:
        self._refresh()
        if key_id not in self._by_id:
            self._reload()
        return self._by_id.get(key_id)

    def _refresh(self) -> None:
        """Reads the file again every few seconds: another process may rotate or revoke keys."""
        now = time.monotonic()
        if now - self._checked_at > _RELOAD_AFTER_S:
            self._checked_at = now
            self._reload()

    def _reload(self) -> None:
        if self._path and key_file.file_stamp(self._path) not in (None, self._stamp):
            self._set_keys(key_file.read_keys(self._path))

    def derive_secret(self, purpose: str) -> bytes:
        """32 octets for another use than tokens (the return path, say). They come from the oldest key, so that they
        outlive a rotation. For a purpose in LASTING_PURPOSES they never change."""
        self._refresh()
        return self._lasting_secrets.get(purpose) or _derive_key(self.keys[0].secret, purpose.encode())

    def reference_for(self, url: bytes) -> bytes:
        """16 octets that refer to a destination that is too long for a token (RFC 2104). They are the same for equal
        URLs as long as the oldest key stays, and nobody can compute them without it."""
        self._refresh()
        key = _reference_key(self.keys[0].secret)
        return hmac.digest(key, url, "sha256")[:REFERENCE_OCTETS]

    def mint(self, hole: Hole, message: str, recipient: int) -> str:
        """The token for that hole, message id and recipient; the same text on every call."""
        return self.mint_octets(hole, message, recipient).decode("ascii")

    def mint_octets(self, hole: Hole, message: str, recipient: int) -> bytes:
        """The same in ASCII."""
        self._refresh()
        kind, link, url = hole
        head, cipher = self._signers.get(kind) or self._add_signer(kind)
        plain = ids.to_octets(message) + token_payload.encode_varint(recipient) + token_payload.encode_varint(link)
        if kind is Kind.CLICK:
            stored = hole.stored_url
            plain += token_payload.pack_reference(self.reference_for(stored)) if stored else token_payload.pack_url(url)
        return base_encoding.to_base64url(head + cipher.encrypt(plain, [head]))

    def _add_signer(self, kind: Kind) -> tuple[bytes, AESSIV]:
        signers = self._signers  # read before the key: another thread may replace both, and this one last
        key = self.keys[-1]
        signers[kind] = bytes((VERSION, key.id)), _cipher(key.secret, kind)
        return signers[kind]

    def read_token(self, kind: Kind, text: str) -> Token:
        """The content of the token. Raises InvalidTokenError, with a reason for the log only."""
        try:
            octets = base_encoding.from_base64url(text)
        except ValueError:
            raise InvalidTokenError("not base64url") from None
        if len(octets) <= _OVERHEAD or octets[0] != VERSION:
            raise InvalidTokenError("not a token")
        key = self.find_key(octets[1])
        if key is None:
            raise InvalidTokenError("no such key")
        try:
            plain = _cipher(key.secret, kind).decrypt(octets[2:], [octets[:2]])
        except InvalidTag:
            raise InvalidTokenError("not authentic") from None
        message = ids.from_octets(plain[: ids.OCTETS])
        recipient, at = token_payload.decode_varint(plain, ids.OCTETS)
        link, at = token_payload.decode_varint(plain, at)
        return Token(
            kind, message, recipient, link, token_payload.unpack_url(plain[at:]) if kind is Kind.CLICK else b""
        )


@dataclass(frozen=True, slots=True)
class Minter:
    """Makes the URLs of one installation."""

    ring: KeyRing
    public_url: str  # without a final slash
    has_recipient_tokens: bool = True  # False: all recipients of a message get the same URLs

    def url(self, hole: Hole, message: str, recipient: int) -> bytes:
        """The tracking URL: printable ASCII without any of & " ' < > = or space (docs/rewriting.md#tracking-urls)."""
        if hole.kind is Kind.UNSUBSCRIBE and hole.url:
            return self._mailbox(hole.url.decode(), ReturnToken(Purpose.UNSUBSCRIBE, message, recipient)).encode(
                "ascii"
            )
        recipient = recipient if self.has_recipient_tokens else ANY_RECIPIENT
        url = _url_prefix(self.public_url, hole.kind) + self.ring.mint_octets(hole, message, recipient)
        return url + b".gif" if hole.kind is Kind.OPEN else url

    def reverse_path(self, domain: str, message: str, recipient: int) -> Mailbox:
        """The address at that domain to which bounces of this delivery come."""
        return self._mailbox(domain, ReturnToken(Purpose.BOUNCE, message, recipient))

    def _mailbox(self, domain: str, token: ReturnToken) -> Mailbox:
        return return_path.make_mailbox(self.ring.derive_secret(return_path.KEY_PURPOSE), domain, token)

    def url_factory(self, message: str, recipient: int) -> Mint:
        """What fills the holes of that message for that recipient."""
        return lambda hole: self.url(hole, message, recipient)


@lru_cache(maxsize=16)
def _url_prefix(public_url: str, kind: Kind) -> bytes:
    return f"{public_url}/{kind}/".encode("ascii")


def click_url_octets(public_url: str, destination: bytes) -> int:
    """The length that a click URL for this destination can have at most, in octets."""
    plain = ids.OCTETS + 3 + 3 + len(token_payload.pack_url(destination))
    return len(public_url) + len("/c/") + -(-4 * (_OVERHEAD + plain) // 3)


def open_key_ring(path: Path) -> KeyRing:
    """The key ring in this file; makes it with a first key where there is none.

    Safe when several processes start at once. Raises OSError, and ValueError for a damaged file.
    """
    if not path.exists():
        key_file.write_keys(path, KeyFile((KeyFile(()).new_key(),)), only_if_absent=True)
    contents = key_file.read_keys(path)
    return KeyRing(contents.keys, path, contents.lasting_secrets)


def rotate_keys(path: Path) -> MasterKey:
    """Adds a key that signs from now on; the old ones go on reading. Raises OSError, ValueError."""
    open_key_ring(path)
    contents = key_file.read_keys(path)
    key = contents.new_key()
    key_file.write_keys(path, contents._replace(keys=(*contents.keys, key)))
    return key


def revoke_key(path: Path, key_id: int) -> MasterKey:
    """Removes the key. All that was made with it becomes invalid, except the secrets for LASTING_PURPOSES. Returns the
    key that signs from now on, a new one if the last was removed. Raises OSError, ValueError."""
    contents = key_file.read_keys(path)
    revoked_key = next((key for key in contents.keys if key.id == key_id), None)
    if revoked_key is None:
        raise ValueError(f"there is no key {key_id}")
    revoked = (*contents.revoked, RevokedKey(revoked_key.id, revoked_key.created, key_file.current_second()))
    lasting = dict(contents.lasting_secrets)
    if revoked_key == contents.keys[0]:
        lasting = {purpose: _derive_key(revoked_key.secret, purpose.encode()) for purpose in LASTING_PURPOSES} | lasting
    remaining = tuple(key for key in contents.keys if key != revoked_key)
    if revoked_key == contents.keys[-1]:
        remaining = (*remaining, contents.new_key())
    key_file.write_keys(path, KeyFile(remaining, revoked, lasting))
    return remaining[-1]


def revoked_keys(path: Path) -> tuple[RevokedKey, ...]:
    """The keys that were revoked, oldest first. Raises OSError, ValueError."""
    return key_file.read_keys(path).revoked


def leading_token(text: str) -> str:
    """The token that the text begins with. Mail programs often add to a link what stands behind it: a full stop, a
    bracket, a quotation mark of any script, `&fbclid=…`. None of these begins with a character of base64url."""
    contents = _TOKEN.match(text)
    return contents[0] if contents else ""


def _derive_key(secret: bytes, purpose: bytes) -> bytes:
    return key_derivation.derive_key(secret, _KEY_PURPOSE + purpose)


@lru_cache(maxsize=16)
def _reference_key(secret: bytes) -> bytes:
    return _derive_key(secret, b"destination")


@lru_cache(maxsize=1024)
def _cipher(secret: bytes, kind: Kind) -> AESSIV:
    return key_derivation.derive_cipher(secret, _KEY_PURPOSE + _KIND_LABEL[kind])
