"""Sign a mail: the octets as they go out, a key and a time in; a DKIM-Signature field out.

RFC 6376 with rsa-sha256, RFC 8463 with ed25519-sha256; header relaxed (§3.4.2), body simple (§3.4.3). The same
input gives the same octets, for both algorithms are deterministic: a retry sends what the first attempt sent.
"""

import hashlib
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Protocol

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding

from relay.config.values import PrivateKey
from relay.mime import fields

# RFC 6376 §5.4.1, and the MIME fields; RFC 8058 §4 requires the unsubscribe pair to be signed.
_ONCE = (
    b"from",
    b"to",
    b"cc",
    b"reply-to",
    b"subject",
    b"date",
    b"message-id",
    b"in-reply-to",
    b"references",
    b"mime-version",
    b"content-type",
    b"content-transfer-encoding",
)
_LISTS = (
    b"list-id",
    b"list-help",
    b"list-subscribe",
    b"list-unsubscribe",
    b"list-unsubscribe-post",
    b"list-post",
    b"list-owner",
    b"list-archive",
)
_SPACE = re.compile(rb"[ \t\r\n]+")
_MAX_LINE = 78  # RFC 5322 §2.1.1
_MAX_STRING = 255  # RFC 1035 §3.3

Sign = Callable[[bytes, str], bytes]  # whole DKIM-Signature fields for these octets, by the keys of that domain


class Key(Protocol):
    """A key, and the name of its public key in the DNS."""

    @property
    def domain(self) -> str: ...  # lower case, A-labels

    @property
    def selector(self) -> str: ...

    @property
    def private_key(self) -> PrivateKey: ...


class NoKeyError(KeyError):
    """The domain no longer has a key."""


class Signer:
    """The keys of an installation, read once."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys: dict[str, list[Key]] = {}
        for key in keys:
            self._keys.setdefault(key.domain, []).append(key)

    def as_of(self, at: datetime) -> Sign:
        """Signs as of that time: of the message, not of the attempt, so that a retry is the same.

        The domain's keys are today's, not those of the first attempt: the old one may have been withdrawn since.
        Raises NoKeyError.
        """

        def sign(octets: bytes, domain: str) -> bytes:
            if domain not in self._keys:
                raise NoKeyError(domain)
            return b"".join(make_signature(octets, key, at) for key in self._keys[domain])

        return sign


def make_signature(octets: bytes, key: Key, at: datetime) -> bytes:
    """The DKIM-Signature field, folded and CRLF-ended, that goes above these octets."""
    head = fields.parse_head(octets, 0, len(octets))
    is_rsa = not isinstance(key.private_key, ed25519.Ed25519PrivateKey)
    names = _names_to_sign(head)
    tags = [
        b"v=1;",
        b"a=rsa-sha256;" if is_rsa else b"a=ed25519-sha256;",
        b"c=relaxed/simple;",
        b"d=%s;" % key.domain.encode("ascii"),
        b"s=%s;" % key.selector.encode("ascii"),
        b"t=%d;" % at.timestamp(),
        *_split_names(names),
        b"bh=%s;" % b64encode(_body_hash(octets, head.body)),
        b"b=",
    ]
    lines = _fold_field(b"DKIM-Signature:", tags)
    # §3.7: the signed fields, then this one with an empty b= and without its line end.
    data = _canonical_header(octets, head, names) + b"dkim-signature:" + _relax_value(lines.partition(b":")[2])
    signed = b64encode(_sign(key.private_key, data))
    last = lines.rfind(b"\n") + 1
    room = _MAX_LINE - (len(lines) - last)
    return lines + b"\r\n ".join([signed[:room], *_split_at_width(signed[room:], _MAX_LINE - 1)]) + b"\r\n"


def dns_record(key: Key) -> tuple[str, str]:
    """The DNS name and the text of the TXT record that publishes the key. RFC 6376 §3.6.1, RFC 8463 §4.2."""
    public = key.private_key.public_key()
    if isinstance(public, ed25519.Ed25519PublicKey):
        kind, octets = "ed25519", public.public_bytes_raw()
    else:
        spki = serialization.PublicFormat.SubjectPublicKeyInfo
        kind, octets = "rsa", public.public_bytes(serialization.Encoding.DER, spki)
    return f"{key.selector}._domainkey.{key.domain}", f"v=DKIM1; k={kind}; p={b64encode(octets).decode('ascii')}"


def split_txt(text: str) -> list[str]:
    """The text of a TXT record as strings of at most 255 octets each."""
    return [text[at : at + _MAX_STRING] for at in range(0, len(text), _MAX_STRING)]


def _names_to_sign(head: fields.Head) -> list[bytes]:
    """What h= lists: every field of those kinds, and one more of each that may stand only once.

    §8.15: a name that is listed once more than it stands forbids a second such field, which a mail program
    could show in place of the signed one. From is always listed so.
    """
    found = Counter(field.name for field in head.fields)
    names: list[bytes] = []
    for name in _ONCE:
        names += [name] * (found[name] + 1 if found[name] or name == b"from" else 0)
    for name in _LISTS:
        names += [name] * found[name]
    return names


def _canonical_header(octets: bytes, head: fields.Head, names: list[bytes]) -> bytes:
    """The listed fields, relaxed; of several with one name the last comes first (§5.4.2)."""
    left: dict[bytes, list[fields.Field]] = {}
    for field in head.fields:
        left.setdefault(field.name, []).append(field)
    chosen = [left[name].pop() for name in names if left.get(name)]
    return b"".join(b"%s:%s\r\n" % (field.name, _relax_value(octets[field.value : field.end])) for field in chosen)


def _relax_value(value: bytes) -> bytes:
    return _SPACE.sub(b" ", value).strip(b" ")


def _body_hash(octets: bytes, body: int) -> bytes:
    # §3.4.3: all empty lines at the end count as none, and a body without a last line end gets one. The edge lets
    # no bare CR or LF in, so that what is stripped here are line ends.
    end = max(body, len(octets.rstrip(b"\r\n")))
    digest = hashlib.sha256(memoryview(octets)[body:end])
    digest.update(b"\r\n")
    return digest.digest()


def _sign(key: PrivateKey, data: bytes) -> bytes:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(hashlib.sha256(data).digest())  # RFC 8463 §3: the hash is what is signed
    return key.sign(data, padding.PKCS1v15(), hashes.SHA256())


def _split_names(names: list[bytes]) -> list[bytes]:
    """h= in pieces between which it may be folded."""
    joined = b"h=" + b":".join(names) + b";"
    return re.findall(rb"[^:]+:?", joined)


def _fold_field(name: bytes, tags: list[bytes]) -> bytes:
    lines = [name]
    for tag in tags:
        # No space inside h=: only before a tag, or where the line ends.
        glue = b"" if lines[-1].endswith(b":") and lines[-1] != name else b" "
        if len(lines[-1]) + len(glue) + len(tag) <= _MAX_LINE:
            lines[-1] += glue + tag
        else:
            lines.append(b" " + tag)
    return b"\r\n".join(lines)


def _split_at_width(octets: bytes, width: int) -> list[bytes]:
    return [octets[at : at + width] for at in range(0, len(octets), width)]
