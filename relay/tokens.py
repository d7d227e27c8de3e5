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
import json
import os
import re
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from relay import ids, packing, return_path
from relay.address import Mailbox
from relay.edits import STORED, Hole, Kind, Mint
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
        """The reference under which `relay.store.destinations` has the destination; empty where the token has it."""
        return self.url[len(STORED) :] if self.url.startswith(STORED) else b""


class BadToken(ValueError):
    """Not a token of ours: malformed, tampered with, of another kind, or signed with a key we never had."""


@dataclass(frozen=True, slots=True)
class Key:
    """A master secret. `id` is 0 to 255 and stands in every token made with it."""

    id: int
    created: datetime
    secret: bytes


class KeyRing:
    """The keys of an installation, oldest first. The last one signs; all of them read."""

    def __init__(self, keys: list[Key], path: Path | None = None) -> None:
        if not keys:
            raise ValueError("a key ring needs a key")
        self._path = path
        self._checked_at = time.monotonic()
        self._set(keys)

    def _set(self, keys: list[Key]) -> None:
        self.keys = tuple(keys)
        self._by_id = {key.id: key for key in keys}
        self._stamp = _stamp(self._path)

    @property
    def current(self) -> Key:
        """The key that signs. Sees a rotation by another process within seconds."""
        now = time.monotonic()
        if now - self._checked_at > _RELOAD_AFTER_S:
            self._checked_at = now
            self._reload()
        return self.keys[-1]

    def find(self, key_id: int) -> Key | None:
        if key_id not in self._by_id:
            self._reload()
        return self._by_id.get(key_id)

    def _reload(self) -> None:
        if self._path and _stamp(self._path) not in (None, self._stamp):
            self._set(_read_keys(self._path))

    def secret_for(self, purpose: str) -> bytes:
        """32 octets for a use of our own outside tokens (session cookies, say), from the oldest key,
        so that a rotation does not end them."""
        return _derive(self.keys[0].secret, purpose.encode())

    def reference(self, url: bytes) -> bytes:
        """16 octets that stand for a destination too long for a token: the same for equal URLs, for as long as the
        oldest key is there, and nobody's to compute without it (RFC 2104)."""
        key = _reference_key(self.keys[0].secret)
        return hmac.digest(key, url, "sha256")[:REFERENCE_OCTETS]

    def mint(self, hole: Hole, message: str, recipient: int) -> str:
        """The token for that hole, message id and recipient; the same text on every call."""
        key = self.current
        plain = ids.to_octets(message) + packing.varint(recipient) + packing.varint(hole.link)
        if hole.kind is Kind.CLICK:
            plain += packing.refer(self.reference(hole.stored)) if hole.stored else packing.pack(hole.url)
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
        recipient, at = packing.read_varint(plain, ids.OCTETS)
        link, at = packing.read_varint(plain, at)
        return Token(kind, message, recipient, link, packing.unpack(plain[at:]) if kind is Kind.CLICK else b"")


@dataclass(frozen=True, slots=True)
class Minter:
    """Makes the URLs of one installation."""

    ring: KeyRing
    public_url: str  # without a final slash
    tells_apart: bool = True  # False: all recipients of a message get the same URLs

    def url(self, hole: Hole, message: str, recipient: int) -> bytes:
        """The tracking URL: printable ASCII without any of & " ' < > = or space (DESIGN R8). So is the address."""
        if hole.kind is Kind.UNSUBSCRIBE and hole.url:
            return self._mailbox(hole.url.decode(), Return(Purpose.UNSUBSCRIBE, message, recipient)).encode("ascii")
        suffix = ".gif" if hole.kind is Kind.OPEN else ""
        recipient = recipient if self.tells_apart else EVERYBODY
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
    plain = ids.OCTETS + 3 + 3 + len(packing.pack(destination))
    return len(public_url) + len("/c/") + -(-4 * (_OVERHEAD + plain) // 3)


def open_ring(path: Path) -> KeyRing:
    """The key ring in this file; makes it with a first key where there is none.

    Safe when several processes start at once. Raises OSError, and ValueError for a damaged file.
    """
    if not path.exists():
        _write_keys(path, [_new_key(1)], only_if_absent=True)
    return KeyRing(_read_keys(path), path)


def rotate(path: Path) -> Key:
    """Adds a key that signs from now on; the old ones go on reading. Raises OSError, ValueError."""
    keys = list(open_ring(path).keys)
    if keys[-1].id >= 255:
        raise ValueError("key ids are used up (255 rotations)")
    key = _new_key(keys[-1].id + 1)
    _write_keys(path, [*keys, key])
    return key


def _new_key(key_id: int) -> Key:
    return Key(key_id, datetime.now(UTC).replace(microsecond=0), secrets.token_bytes(32))


def _read_keys(path: Path) -> list[Key]:
    try:
        rows = json.loads(path.read_text("utf-8"))["keys"]
        keys = [
            Key(int(row["id"]), datetime.fromisoformat(row["created"]), bytes.fromhex(row["secret"])) for row in rows
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a key file ({error})") from None
    if not keys or any(len(key.secret) != 32 or not 0 <= key.id <= 255 for key in keys):
        raise ValueError(f"{path}: not a key file")
    return keys


def _write_keys(path: Path, keys: list[Key], *, only_if_absent: bool = False) -> None:
    rows = [{"id": key.id, "created": key.created.isoformat(), "secret": key.secret.hex()} for key in keys]
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"keys": rows}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        if only_if_absent:
            try:
                os.link(draft, path)
            except FileExistsError:
                return  # another process was first
        else:
            draft.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        draft.unlink(missing_ok=True)


def _stamp(path: Path | None) -> tuple[int, int] | None:
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_ino) if found else None


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
