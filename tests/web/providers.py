"""Webhooks as the providers send them, signed with keys made here."""

import base64
import hashlib
import hmac
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from relay.store.queue import queue_facts
from relay.store.recipients import suppressions
from tests.web.scene import Scene
from web.inbound import sendgrid, sns

TOPIC = "arn:aws:sns:eu-west-1:123456789012:bounces"
CERTIFICATE_URL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"
SENDGRID = ec.generate_private_key(ec.SECP256R1())
AMAZON = rsa.generate_private_key(65537, 2048)
OTHER = rsa.generate_private_key(65537, 2048)
FETCHED: list[str] = []
DOMAIN = "bounces.example.com"
PUBLIC = SENDGRID.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
TABLES: dict[str, dict[str, object]] = {
    "inbound": {
        "ses": [TOPIC],
        "sendgrid": base64.b64encode(PUBLIC).decode(),
        "mailgun": "signing key",
        "postmark": "hook:secret",
        "sparkpost": "token of ours",
    },
    "bounces": {"return_path": DOMAIN},
}
DEAD = "550 5.1.1 <x@example.com>: user unknown"


ROOT_KEY = ec.generate_private_key(ec.SECP256R1())
ISSUER_KEY = ec.generate_private_key(ec.SECP256R1())
ISSUER_URL = "http://crt.r2m01.amazontrust.com/r2m01.cer"


def name_of(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def authority(
    subject: str, issuer: str, key: ec.EllipticCurvePrivateKey, by: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    now = datetime.now(UTC)
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    return (
        x509.CertificateBuilder(name_of(issuer), name_of(subject), key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=300))
        .not_valid_after(now + timedelta(days=300))
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
        .sign(by, hashes.SHA256())
    )


ROOT = authority("Root of tests", "Root of tests", ROOT_KEY, ROOT_KEY)
ISSUER = authority("Issuer of tests", "Root of tests", ISSUER_KEY, ROOT_KEY)


def certificate(
    key: rsa.RSAPrivateKey,
    name: str = "sns.amazonaws.com",
    ends: timedelta = timedelta(days=20),
    by: ec.EllipticCurvePrivateKey = ISSUER_KEY,
) -> bytes:
    """As Amazon serves it, without the one that it was issued under."""
    ends_at = datetime.now(UTC) + ends
    access = x509.AccessDescription(
        AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier(ISSUER_URL)
    )
    made = (
        x509.CertificateBuilder(
            name_of("Issuer of tests"), name_of(name), key.public_key(), x509.random_serial_number()
        )
        .not_valid_before(ends_at - timedelta(days=60))
        .not_valid_after(ends_at)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
        .add_extension(x509.AuthorityInformationAccess([access]), critical=False)
        .sign(by, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def certificate_url(number: int) -> str:
    return f"https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-{number:032x}.pem"


SERVED = {CERTIFICATE_URL: certificate(AMAZON), ISSUER_URL: ISSUER.public_bytes(serialization.Encoding.DER)}


async def fetch(url: str) -> bytes:
    FETCHED.append(url)
    if url not in SERVED and "ConfirmSubscription" not in url:
        raise OSError("404")
    return SERVED.get(url, b"")


# --- as the providers send


def from_sendgrid(scene: Scene, *events: dict[str, Any], key: ec.EllipticCurvePrivateKey = SENDGRID) -> httpx.Response:
    body = json.dumps(events).encode()
    signature = key.sign(b"1700000000" + body, ec.ECDSA(hashes.SHA256()))
    headers = {sendgrid.SIGNATURE: base64.b64encode(signature).decode(), sendgrid.TIMESTAMP: "1700000000"}
    return scene.http.post("/in/sendgrid", content=body, headers=headers)


def from_mailgun(
    scene: Scene, event: dict[str, Any], token: str = "", key: str = "signing key", at: float = 0
) -> httpx.Response:
    stamp, token = str(int(at or time.time())), token or f"token-{time.monotonic_ns()}"
    signature = hmac.new(key.encode(), (stamp + token).encode(), hashlib.sha256).hexdigest()
    signed = {"timestamp": stamp, "token": token, "signature": signature}
    return scene.http.post("/in/mailgun", content=json.dumps({"signature": signed, "event-data": event}))


def from_amazon(
    scene: Scene, body: object, key: rsa.RSAPrivateKey = AMAZON, version: str = "2", **more: str
) -> httpx.Response:
    message = {
        "Type": "Notification",
        "MessageId": f"m-{time.monotonic_ns()}",
        "TopicArn": TOPIC,
        "Message": body if isinstance(body, str) else json.dumps(body),
        "Timestamp": datetime.now(UTC).isoformat(),
        "SignatureVersion": version,
        "SigningCertURL": CERTIFICATE_URL,
    } | more
    algorithm = hashes.SHA1() if version == "1" else hashes.SHA256()
    signature = key.sign(sns.signed_octets(message, message["Type"]), padding.PKCS1v15(), algorithm)
    message["Signature"] = base64.b64encode(signature).decode()
    return scene.http.post("/in/ses", content=json.dumps(message), headers={"content-type": "text/plain"})


def from_postmark(scene: Scene, record: dict[str, Any], auth: tuple[str, str] = ("hook", "secret")) -> httpx.Response:
    return scene.http.post("/in/postmark", content=json.dumps(record), auth=auth)


def from_sparkpost(scene: Scene, *events: dict[str, Any], token: str = "token of ours") -> httpx.Response:
    body = [{"msys": {"message_event": event}} for event in events]
    return scene.http.post("/in/sparkpost", content=json.dumps(body), headers={"authorization": f"Bearer {token}"})


def sent(scene: Scene, recipient: str, receipt: str = "queued as 1A2B") -> str:
    tried = queue_facts.AttemptRecord("primary", "dot", 250, "2.0.0", receipt, 120)
    return scene.file(recipient, message_id=f"{recipient}.id", attempt=tried)


def bounced(recipient: str, **more: object) -> dict[str, Any]:
    """As SendGrid has it."""
    return {
        "email": recipient, "event": "bounce", "timestamp": int(time.time()), "sg_event_id": f"b-{recipient}",
        "smtp-id": f"<{recipient}.id>", "status": "5.1.1", "reason": DEAD, "type": "bounce",
    } | more  # fmt: skip


def status(scene: Scene, message: str) -> tuple[str, str, str]:
    row = scene.delivery(message)
    return row["status"], row["kind"], row["category"]


def held(scene: Scene, recipient: str) -> list[tuple[str, str]]:
    rows = scene.read(lambda connection: suppressions.list_suppressions(connection, 10, recipient))
    return [(row["scope"], row["reason"]) for row in rows]
