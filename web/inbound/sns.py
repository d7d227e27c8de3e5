"""Messages of Amazon SNS: signed with RSA by a key whose certificate Amazon serves.

In: a message's JSON.  Out: its type, or BadSignatureError. Signature versions 1 (SHA-1) and 2 (SHA-256).
No other URL of a message is followed: that of the certificate has a fixed form for the topic's region, and a
subscription is confirmed at a URL that we make of the topic and its token.
"""

import base64
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlencode

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from web.inbound import provider_event
from web.inbound.certificates import CertificateCache, Fetch
from web.inbound.provider_event import BadSignatureError, MalformedPayloadError

MAX_AGE = timedelta(hours=1)
_MAX_TOKEN = 2000  # characters
_TOPIC = re.compile(r"arn:(aws[a-z-]*):sns:([a-z0-9-]+):\d{12}:[\w.-]+")
_CERTIFICATE_PATH = re.compile(r"/SimpleNotificationService-[0-9a-f]{32}\.pem")
_HASHES: dict[str, hashes.HashAlgorithm] = {"1": hashes.SHA1(), "2": hashes.SHA256()}  # noqa: S303  it signs so
# In this order, each as name, LF, value, LF; what is missing is left out.
_SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}


class _Topic(NamedTuple):
    """The host that serves a topic, and the name in the certificate that signs for it."""

    host: str
    names: tuple[str, ...]


class SnsVerifier:
    """Verifies messages of the configured topics."""

    def __init__(self, topics: Sequence[str], fetch: Fetch, roots: Sequence[x509.Certificate] | None = None) -> None:
        self._topics = {topic: _parse_topic(topic) for topic in topics}
        self._fetch = fetch
        self._certificates = CertificateCache(fetch, roots)

    async def verify(self, data: object, now: datetime) -> str:
        """The message's type. Raises BadSignatureError, and OSError while Amazon cannot be reached."""
        type_ = provider_event.text(data, "Type")
        algorithm = _HASHES.get(provider_event.text(data, "SignatureVersion"))
        topic_parts = self._topics.get(provider_event.text(data, "TopicArn"))
        if type_ not in _SIGNED or algorithm is None or topic_parts is None:
            raise BadSignatureError("not a message of a topic in [inbound] ses")
        try:
            signature = base64.b64decode(provider_event.text(data, "Signature"), validate=True)
            at = provider_event.time(data, "Timestamp")
        except MalformedPayloadError as error:
            raise BadSignatureError(str(error)) from None
        except ValueError:
            raise BadSignatureError("the signature is not Amazon's") from None
        if abs(now - at) > MAX_AGE:
            raise BadSignatureError("the message is more than an hour old")
        url, origin = provider_event.text(data, "SigningCertURL"), f"https://{topic_parts.host}"
        if not url.startswith(origin) or not _CERTIFICATE_PATH.fullmatch(url, len(origin)):
            raise BadSignatureError("the certificate is not Amazon's")
        key = await self._certificates.get_key(url, topic_parts.names)
        try:
            key.verify(signature, signed_octets(data, type_), padding.PKCS1v15(), algorithm)
        except InvalidSignature:
            raise BadSignatureError("the signature is not Amazon's") from None
        return type_

    async def confirm(self, data: object) -> None:
        """Subscribes, as a verified message asks us to. Raises MalformedPayloadError, OSError."""
        topic, token = provider_event.text(data, "TopicArn"), provider_event.text(data, "Token")
        if not token or len(token) > _MAX_TOKEN:
            raise MalformedPayloadError("no token")
        query = urlencode({"Action": "ConfirmSubscription", "TopicArn": topic, "Token": token})
        await self._fetch(f"https://{self._topics[topic].host}/?{query}")


def signed_octets(data: object, type_: str) -> bytes:
    """The octets that Amazon signs."""
    return "".join(
        f"{name}\n{provider_event.get(data, name)}\n"
        for name in _SIGNED[type_]
        if provider_event.get(data, name) is not None
    ).encode("utf-8", "replace")


def _parse_topic(topic: str) -> _Topic:
    found = _TOPIC.fullmatch(topic)
    assert found is not None, topic  # the configuration has checked it
    domain = "amazonaws.com.cn" if found[1] == "aws-cn" else "amazonaws.com"
    host = f"sns.{found[2]}.{domain}"
    return _Topic(host, (f"sns.{domain}", host))
