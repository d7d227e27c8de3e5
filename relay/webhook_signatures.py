"""Sign webhook requests, and the keys for that.

In: secret, id, time and body of a request.  Out: the values of its signature headers: of Standard Webhooks
(HMAC-SHA256 over `id.timestamp.body`), of Mailgun (HMAC-SHA256), of SendGrid (ECDSA on P-256).
"""

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # they take a command 10 ms, and a configuration needs the secrets' form alone
    from cryptography.hazmat.primitives.asymmetric import ec

PREFIX = "whsec_"
_OCTETS = 32
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256's group


def new_secret() -> str:
    """A secret as Standard Webhooks writes it: `whsec_` and base64."""
    return PREFIX + base64.b64encode(os.urandom(_OCTETS)).decode("ascii")


def secret_octets(secret: str | bytes) -> bytes:
    """The key of a secret: for `whsec_…` the decoded base64, for any other text its UTF-8. Raises ValueError."""
    raw = secret if isinstance(secret, bytes) else secret.encode()
    if not raw.startswith(PREFIX.encode()):
        return raw
    try:
        return base64.b64decode(raw.removeprefix(PREFIX.encode()), validate=True)
    except binascii.Error:
        raise ValueError(f"what follows {PREFIX} is not base64") from None


def standard_webhooks_signature(secrets: Iterable[str | bytes], webhook_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature`: one for each secret, so that a receiver may know the old one or the new one."""
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    signatures = (hmac.new(secret_octets(secret), signed, hashlib.sha256).digest() for secret in secrets)
    return " ".join("v1," + base64.b64encode(one).decode("ascii") for one in signatures)


def mailgun_signature(secret: str, timestamp: str, token: str) -> str:
    """The `signature` in Mailgun's body, in hexadecimal."""
    return hmac.new(secret.encode(), f"{timestamp}{token}".encode(), hashlib.sha256).hexdigest()


def key_purpose(webhook: str) -> str:
    """The purpose for which a key ring derives that webhook's seed."""
    return f"webhook {webhook}"


def derive_private_key(seed: bytes) -> "ec.EllipticCurvePrivateKey":
    """The P-256 key derived from 32 secret octets, always the same."""
    from cryptography.hazmat.primitives.asymmetric import ec

    # 64 octets: the remainder is spread evenly over the group (FIPS 186-5 A.2.1).
    wide = int.from_bytes(hashlib.sha512(b"waypost webhook p-256" + seed).digest(), "big")
    return ec.derive_private_key(wide % (_ORDER - 1) + 1, ec.SECP256R1())


def format_public_key(key: "ec.EllipticCurvePrivateKey") -> str:
    """The public key for a receiver: SubjectPublicKeyInfo in base64, as SendGrid shows it."""
    from cryptography.hazmat.primitives import serialization

    key_octets = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(key_octets).decode("ascii")


def sendgrid_signature(key: "ec.EllipticCurvePrivateKey", timestamp: str, body: bytes) -> str:
    """The `X-Twilio-Email-Event-Webhook-Signature`: DER in base64."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    return base64.b64encode(key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))).decode("ascii")
