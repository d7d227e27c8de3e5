"""Messages of Amazon SNS: signed with RSA by a key whose certificate Amazon serves.

In: a message's JSON and a way to fetch a URL.  Out: nothing, or Forged. Signature versions 1 (SHA-1) and 2 (SHA-256).
Nothing is fetched that is not Amazon's, and nothing is confirmed that the configuration does not name.
"""

import base64
import re
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from web.inbound import word
from web.inbound.word import Forged

Fetch = Callable[[str], Awaitable[bytes]]  # raises OSError
_HOST = re.compile(r"sns\.[a-z0-9-]{3,30}\.amazonaws\.com(\.cn)?")
_HASHES: dict[str, hashes.HashAlgorithm] = {"1": hashes.SHA1(), "2": hashes.SHA256()}  # noqa: S303  it signs so
# In this order, each as name, LF, value, LF; what is missing is left out.
_SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
_MOST_CERTIFICATES = 20


class Sns:
    """The topics that are believed, and the certificates that have been seen."""

    def __init__(self, topics: Sequence[str], fetch: Fetch) -> None:
        self._topics = frozenset(topics)
        self._fetch = fetch
        self._keys: dict[str, rsa.RSAPublicKey] = {}

    async def verify(self, data: object) -> str:
        """The message's type. Raises Forged, and OSError while Amazon cannot be reached."""
        type_ = word.text(data, "Type")
        algorithm = _HASHES.get(word.text(data, "SignatureVersion"))
        if type_ not in _SIGNED or algorithm is None or word.text(data, "TopicArn") not in self._topics:
            raise Forged("not a message of a topic in [inbound] ses")
        key = await self._key(word.text(data, "SigningCertURL"))
        try:
            signature = base64.b64decode(word.text(data, "Signature"), validate=True)
            key.verify(signature, signed(data, type_), padding.PKCS1v15(), algorithm)
        except (ValueError, InvalidSignature):
            raise Forged("the signature is not Amazon's") from None
        return type_

    async def confirm(self, data: object) -> None:
        """Subscribes, as a verified message asks us to. Raises Forged, OSError."""
        await self._fetch(_amazons(word.text(data, "SubscribeURL")))

    async def _key(self, url: str) -> rsa.RSAPublicKey:
        if url not in self._keys:
            if not urlsplit(_amazons(url)).path.endswith(".pem"):
                raise Forged("the certificate is not Amazon's")
            try:
                key = x509.load_pem_x509_certificate(await self._fetch(url)).public_key()
            except ValueError:
                raise Forged("no certificate") from None
            if not isinstance(key, rsa.RSAPublicKey):
                raise Forged("no certificate of an RSA key")
            if len(self._keys) >= _MOST_CERTIFICATES:
                self._keys.clear()
            self._keys[url] = key
        return self._keys[url]


def signed(data: object, type_: str) -> bytes:
    """The octets that Amazon signs."""
    return "".join(
        f"{name}\n{word.at(data, name)}\n" for name in _SIGNED[type_] if word.at(data, name) is not None
    ).encode()


def _amazons(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" or not _HOST.fullmatch(parts.netloc):
        raise Forged("the URL is not Amazon's")
    return url
