"""DKIM keys to sign with, and the DNS that a verifier would ask."""

from collections.abc import Callable
from typing import NamedTuple

import dkim as dkimpy
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from relay.config.values import PrivateKey
from relay.mime import fields
from relay.rewrite import dkim


class SigningKey(NamedTuple):
    domain: str
    selector: str
    private_key: PrivateKey


RSA = SigningKey("bramble.example", "r1", rsa.generate_private_key(65537, 2048))
ED25519 = SigningKey("bramble.example", "e1", ed25519.Ed25519PrivateKey.generate())
OTHER = SigningKey("esp.example", "o1", RSA.private_key)


def verdicts(octets: bytes, *keys: dkim.Key) -> list[bool]:
    """What dkimpy says of each DKIM-Signature of the message, from the top."""
    zone = dict(dkim.dns_record(key) for key in keys)

    def ask(name: bytes, timeout: int = 5) -> str | None:
        return zone.get(name.decode("ascii").rstrip("."))

    count = len(fields.parse_head(octets, 0, len(octets)).fields_named(b"dkim-signature"))
    return [_verifies(dkimpy.DKIM(octets), n, ask) for n in range(count)]


def _verifies(mail: dkimpy.DKIM, n: int, ask: Callable[..., str | None]) -> bool:
    try:
        return bool(mail.verify(idx=n, dnsfunc=ask))
    except dkimpy.ValidationError:  # the body's hash, say
        return False
