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

from relay.store import queue, suppressions
from tests.web.scene import Scene
from web.inbound import sendgrid, sns

TOPIC = "arn:aws:sns:eu-west-1:123456789012:bounces"
CERTIFICATE_URL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem"
SENDGRID = ec.generate_private_key(ec.SECP256R1())
AMAZON = rsa.generate_private_key(65537, 2048)
OTHER = rsa.generate_private_key(65537, 2048)
FETCHED: list[str] = []
DOMAIN = "bounces.example.com"
DEAD = "550 5.1.1 <x@example.com>: user unknown"


def certificate(key: rsa.RSAPrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


CERTIFICATE = certificate(AMAZON)


async def fetch(url: str) -> bytes:
    FETCHED.append(url)
    return CERTIFICATE


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
    return scene.http.post("/in/mailgun", json={"signature": signed, "event-data": event})


def from_amazon(
    scene: Scene, said: object, key: rsa.RSAPrivateKey = AMAZON, version: str = "2", **more: str
) -> httpx.Response:
    message = {
        "Type": "Notification",
        "MessageId": f"m-{time.monotonic_ns()}",
        "TopicArn": TOPIC,
        "Message": said if isinstance(said, str) else json.dumps(said),
        "Timestamp": "2026-11-21T09:00:00.000Z",
        "SignatureVersion": version,
        "SigningCertURL": CERTIFICATE_URL,
    } | more
    algorithm = hashes.SHA1() if version == "1" else hashes.SHA256()
    signature = key.sign(sns.signed(message, message["Type"]), padding.PKCS1v15(), algorithm)
    message["Signature"] = base64.b64encode(signature).decode()
    return scene.http.post("/in/ses", content=json.dumps(message), headers={"content-type": "text/plain"})


def from_postmark(scene: Scene, record: dict[str, Any], auth: tuple[str, str] = ("hook", "secret")) -> httpx.Response:
    return scene.http.post("/in/postmark", json=record, auth=auth)


def from_sparkpost(scene: Scene, *events: dict[str, Any], token: str = "token of ours") -> httpx.Response:
    body = [{"msys": {"message_event": event}} for event in events]
    return scene.http.post("/in/sparkpost", json=body, headers={"authorization": f"Bearer {token}"})


def sent(scene: Scene, who: str, receipt: str = "queued as 1A2B") -> str:
    tried = queue.Try("primary", "dot", 250, "2.0.0", receipt, 120)
    return scene.file(who, message_id=f"{who}.id", tried=tried)


def bounced(who: str, **more: object) -> dict[str, Any]:
    """As SendGrid has it."""
    return {
        "email": who, "event": "bounce", "timestamp": int(time.time()), "sg_event_id": f"b-{who}",
        "smtp-id": f"<{who}.id>", "status": "5.1.1", "reason": DEAD, "type": "bounce",
    } | more  # fmt: skip


def status(scene: Scene, message: str) -> tuple[str, str, str]:
    row = scene.delivery(message)
    return row["status"], row["kind"], row["category"]


def held(scene: Scene, who: str) -> list[tuple[str, str]]:
    rows = scene.read(lambda session: suppressions.listing(session, 10, who))
    return [(row["scope"], row["reason"]) for row in rows]
