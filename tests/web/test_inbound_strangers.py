"""What strangers send to `/in/`: any octets get a 2xx or 4xx, nothing of theirs is fetched, and no fault is logged."""

import base64
import hashlib
import hmac
import json
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.waiting import until
from tests.web.providers import (
    CERTIFICATE_URL,
    DOMAIN,
    ROOT,
    TABLES,
    TOPIC,
    fetch,
    from_amazon,
    from_mailgun,
    from_postmark,
    from_sendgrid,
    from_sparkpost,
    sent,
)
from tests.web.scene import Scene, no_fault_logged
from web.inbound import endpoint, sendgrid

PROVIDERS = ("ses", "sendgrid", "mailgun", "postmark", "sparkpost")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Scene(tmp_path_factory.mktemp("strangers"), TABLES, fetch=fetch, roots=[ROOT]) as running:
        yield running


# --- any octets

_TEXT = st.text(max_size=30) | st.sampled_from(["\ud800", "\0", "1e400", "9" * 5000, "-62135596800", "9999-12-31"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_FIELDS = (
    "Type", "Message", "TopicArn", "Signature", "SignatureVersion", "SigningCertURL", "Timestamp", "Token",
    "signature", "timestamp", "token", "event-data", "event", "msys", "RecordType", "BouncedAt",
)  # fmt: skip
_SHAPED = st.dictionaries(st.sampled_from(_FIELDS), _JSON, max_size=6)
_BODIES = st.binary(max_size=200) | (_JSON | _SHAPED | st.lists(_SHAPED, max_size=2)).map(
    lambda data: json.dumps(data).encode("utf-8", "surrogatepass")
)
_HEADERS = st.fixed_dictionaries(
    {},
    optional={
        name: st.sampled_from(["Basic é", "Basic !", "Basic " + "A" * 41, "Bearer", "Bearer token of ours", "1"])
        | st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20)
        for name in ("authorization", sendgrid.SIGNATURE, sendgrid.TIMESTAMP, "x-messagesystems-webhook-token")
    },
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(PROVIDERS), _BODIES, _HEADERS)
def test_any_octets_have_an_answer_that_is_no_fault_of_ours(
    scene: Scene, provider: str, body: bytes, headers: dict[str, str]
) -> None:
    encoded = {name.encode("ascii"): value.strip().encode("latin-1") for name, value in headers.items()}
    with no_fault_logged():
        answer = scene.http.post(f"/in/{provider}", content=body, headers=encoded)
    assert answer.status_code in (200, 400, 401)


def test_octets_that_are_nearly_what_a_provider_sends_are_refused(scene: Scene) -> None:
    stamp = str(int(time.time()))
    with no_fault_logged():
        for odd in HOSTILE:
            for given_as in ({"timestamp": stamp, "token": odd}, {"timestamp": odd, "token": "t"}):
                body = json.dumps({"signature": {"signature": odd} | given_as})
                assert scene.http.post("/in/mailgun", content=body).status_code == 401
            for field in ("Message", "MessageId", "Subject", "Timestamp", "SigningCertURL", "Signature", "Type"):
                message = {
                    "Type": "Notification", "TopicArn": TOPIC, "SignatureVersion": "2", "Signature": "AAAA",
                    "SigningCertURL": CERTIFICATE_URL, "Timestamp": datetime.now(UTC).isoformat(), field: odd,
                }  # fmt: skip
                assert scene.http.post("/in/ses", content=json.dumps(message)).status_code == 401


HOSTILE: tuple[Any, ...] = (
    "\ud800", "\0", "x" * 5000, 10**400, -62135596800, 253402300799, 1e308, float("nan"), True, None, [], {}, ["x"],
    {"x": "y"}, "%_\\" * 9, "\r\nX: y", "<" * 3000, "9" * 4000, "0001-01-01T00:00:00+14:00", "9999-12-31", "é" * 99,
)  # fmt: skip
NOW = int(time.time())
EVENTS: dict[str, dict[str, Any]] = {
    "sendgrid": {
        "event": "bounce", "type": "bounce", "email": "a@b.example", "timestamp": NOW, "sg_event_id": "e",
        "smtp-id": "<m@id>", "sg_message_id": "receipt-0123", "status": "5.1.1", "reason": "550 5.1.1 unknown",
    },
    "sparkpost": {
        "type": "bounce", "bounce_class": "10", "event_id": "1", "timestamp": NOW, "rcpt_to": "a@b.example",
        "msg_from": f"b+x@{DOMAIN}", "message_id": "receipt-0123", "raw_reason": "550 5.1.1 unknown",
    },
    "mailgun": {
        "event": "failed", "severity": "permanent", "reason": "bounce", "id": "i", "timestamp": NOW,
        "recipient": "a@b.example", "message": {"headers": {"message-id": "m@id"}},
        "delivery-status": {"code": 550, "message": "unknown", "enhanced-code": "5.1.1", "mx-host": "mx.example"},
    },
    "postmark": {
        "RecordType": "Bounce", "Type": "HardBounce", "ID": 1, "MessageID": "receipt-0123", "Email": "a@b.example",
        "BouncedAt": "2026-01-01T00:00:00Z", "Details": "smtp;550 5.1.1 unknown",
    },
    "ses": {
        "notificationType": "Bounce",
        "bounce": {
            "bounceType": "Permanent", "bounceSubType": "General", "timestamp": "2026-01-01T00:00:00Z",
            "feedbackId": "f", "reportingMTA": "dns; mx.example",
            "bouncedRecipients": [{"emailAddress": "a@b.example", "status": "5.1.1", "diagnosticCode": "550 unknown"}],
        },
        "mail": {"messageId": "receipt-0123", "source": f"b+x@{DOMAIN}", "commonHeaders": {"messageId": "<m@id>"}},
    },
}  # fmt: skip
SEND: dict[str, Callable[[Scene, dict[str, Any]], httpx.Response]] = {
    "sendgrid": from_sendgrid,
    "sparkpost": from_sparkpost,
    "mailgun": from_mailgun,
    "postmark": from_postmark,
    "ses": from_amazon,
}


def altered(data: Any, odd: object) -> Iterator[Any]:
    """Copies in each of which one value is the odd one."""
    yield odd
    for key in data if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ():
        for inner in altered(data[key], odd):
            yield {**data, key: inner} if isinstance(data, dict) else [*data[:key], inner, *data[key + 1 :]]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_odd_value_in_a_signed_event_is_no_fault_either(scene: Scene, provider: str) -> None:
    with no_fault_logged():
        for odd in HOSTILE:
            for event in altered(EVENTS[provider], odd):
                answer = SEND[provider](scene, event)
                assert answer.status_code in (200, 400), (event, answer.text)


# --- before the body


def answer_to_a_head(scene: Scene, provider: str, *fields: str) -> bytes:
    """What comes while no octet of the body has been sent."""
    url = urlsplit(scene.tracking)
    with socket.create_connection((url.hostname, url.port), timeout=60) as connection:
        head = [f"POST /in/{provider} HTTP/1.1", f"Host: {url.netloc}", *fields, "", ""]
        connection.sendall("\r\n".join(head).encode())
        return connection.recv(100)


def test_credentials_are_looked_at_before_the_body_is_read(scene: Scene) -> None:
    length = "Content-Length: 100000"
    for provider in ("postmark", "sparkpost", "sendgrid"):
        assert answer_to_a_head(scene, provider, length).startswith(b"HTTP/1.1 401")
    stamp = f"{sendgrid.TIMESTAMP}: 1.5"
    assert answer_to_a_head(scene, "sendgrid", length, f"{sendgrid.SIGNATURE}: x", stamp).startswith(b"HTTP/1.1 401")


def test_no_more_is_read_than_a_provider_sends(scene: Scene) -> None:
    basic = "Authorization: Basic " + base64.b64encode(b"hook:secret").decode()
    for provider, most, fields in (
        ("ses", 256 << 10, []),
        ("mailgun", 1 << 20, []),
        ("postmark", 1 << 20, [basic]),
        ("sparkpost", 10 << 20, ["Authorization: Bearer token of ours"]),
    ):
        said = answer_to_a_head(scene, provider, f"Content-Length: {most + 1}", *fields)
        assert said.startswith(b"HTTP/1.1 413"), provider
        body = iter([b" " * most, b" "])  # in chunks, without a length
        headers = dict(field.split(": ") for field in fields)
        assert scene.http.post(f"/in/{provider}", content=body, headers=headers).status_code == 413
    assert scene.http.post("/in/ses", content=b" " * (256 << 10)).status_code == 400  # read, and no JSON


def test_bodies_that_nobody_has_verified_have_a_budget_together(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "_MAX_IN_FLIGHT", 10_000)
    url = urlsplit(scene.tracking)

    def code() -> int:
        return scene.http.post("/in/ses", content=b" " * 4000).status_code

    assert code() == 400
    with socket.create_connection((url.hostname, url.port), timeout=60) as connection:
        head = f"POST /in/mailgun HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: 9000\r\n\r\n"
        connection.sendall(head.encode() + b" " * 8000)
        until(lambda: code() == 503)
    until(lambda: code() == 400)


def test_odd_paths_and_methods_lead_nowhere(scene: Scene) -> None:
    url = urlsplit(scene.tracking)
    with no_fault_logged():
        for line in (
            "POST /in/", "POST /in", "POST /in/%00", "POST /in/%ff%fe", "POST /in/ses/", "POST /in/ses%2f..",
            "POST /in/SES", "POST //in/ses", "POST /in/../in/x", "GET /in/ses", "PUT /in/ses", "HEAD /in/ses",
            "TRACE /in/ses", "POST /in/" + "a" * 5000,
        ):  # fmt: skip
            with socket.create_connection((url.hostname, url.port), timeout=60) as connection:
                head = f"{line} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
                connection.sendall(head.encode() + b"{}")
                assert connection.recv(20)[9:12] in (b"400", b"404", b"405", b"414"), line


def test_who_hangs_up_in_a_body_leaves_no_fault(scene: Scene) -> None:
    url = urlsplit(scene.tracking)
    with no_fault_logged():
        for provider in ("ses", "mailgun"):
            with socket.create_connection((url.hostname, url.port), timeout=60) as connection:
                connection.sendall(
                    f"POST /in/{provider} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: 9\r\n\r\n{{".encode()
                )
        assert scene.http.get("/healthz").status_code == 200


# --- Mailgun's signature


def test_a_mailgun_token_cannot_be_told_from_its_timestamp_in_two_ways(scene: Scene) -> None:
    sent(scene, "mg@example.com")
    event = {"event": "failed", "id": "x", "timestamp": time.time(), "recipient": "mg@example.com"}
    stamp, token = str(int(time.time())), "e0abc"
    signature = hmac.new(b"signing key", (stamp + token).encode(), hashlib.sha256).hexdigest()
    for at, once, code in ((stamp, token, 200), (stamp + "e0", "abc", 401), (stamp + "e", "0abc", 401)):
        signed = {"timestamp": at, "token": once, "signature": signature}
        assert scene.http.post("/in/mailgun", json={"signature": signed, "event-data": event}).status_code == code
    assert from_mailgun(scene, event, token="t" * 101).status_code == 401
