"""Providers' webhooks: what is not signed changes nothing, and each provider's fields are read."""

import base64
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from relay import return_path
from relay.event_type import EventType
from relay.return_path import Purpose, ReturnToken
from relay.store.queue import late_reports
from tests.web.providers import (
    DEAD,
    DOMAIN,
    FETCHED,
    OTHER,
    ROOT,
    SENDGRID,
    SERVED,
    TABLES,
    TOPIC,
    bounced,
    fetch,
    from_amazon,
    from_mailgun,
    from_postmark,
    from_sendgrid,
    from_sparkpost,
    held,
    sent,
    status,
)
from tests.web.scene import Scene
from web.inbound import mailgun, postmark, sendgrid, ses, sparkpost
from web.inbound.provider_event import MalformedPayloadError


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Scene(tmp_path_factory.mktemp("inbound"), TABLES, fetch=fetch, roots=[ROOT]) as running:
        yield running


# --- signatures


def test_a_bounce_that_sendgrid_signed_settles_the_delivery(scene: Scene) -> None:
    message = sent(scene, "sg@example.com")
    assert from_sendgrid(scene, bounced("sg@example.com")).json() == {"taken": 1, "known": 0, "unknown": 0}
    assert status(scene, message) == ("bounced", "hard", "user_unknown")
    assert held(scene, "sg@example.com") == [("all", "hard_bounce")]
    [event] = scene.events(message, EventType.BOUNCED)
    assert event["detail"] == DEAD
    assert scene.delivery(message)["delivered_at"] <= scene.delivery(message)["settled_at"]
    # Told again, alone or in a batch: the same.
    assert from_sendgrid(scene, bounced("sg@example.com"), bounced("sg@example.com", sg_event_id="x")).json() == {
        "taken": 0, "known": 2, "unknown": 0,
    }  # fmt: skip
    assert len(scene.events(message, EventType.BOUNCED)) == 1


def test_an_unsigned_request_changes_nothing(scene: Scene) -> None:
    FETCHED.clear()
    who = "forged@example.com"
    message = sent(scene, who, "queued as forged-0123456789")
    failed = {
        "event": "failed", "severity": "permanent", "id": "f", "timestamp": time.time(), "recipient": who,
        "message": {"headers": {"message-id": f"{who}.id"}}, "delivery-status": {"code": 550, "message": DEAD},
    }  # fmt: skip
    from_ses = bounce_of_ses(who, message_id=f"{who}.id")
    old = time.time() - 3 * 86400
    answers = [
        from_sendgrid(scene, bounced(who), key=ec.generate_private_key(ec.SECP256R1())),
        scene.http.post("/in/sendgrid", json=[bounced(who)]),
        from_mailgun(scene, failed, key="another key"),
        from_mailgun(scene, failed, at=old),
        from_amazon(scene, from_ses, key=OTHER),
        from_amazon(scene, from_ses, TopicArn=TOPIC + "2"),
        from_amazon(scene, from_ses, SigningCertURL="https://sns.eu-west-1.amazonaws.com.evil.example/x.pem"),
        from_amazon(scene, from_ses, SigningCertURL="http://sns.eu-west-1.amazonaws.com/x.pem"),
        from_amazon(scene, from_ses, SigningCertURL="https://evil@sns.eu-west-1.amazonaws.com:444/x.pem"),
        from_postmark(scene, {"RecordType": "Bounce"}, auth=("hook", "wrong")),
        scene.http.post("/in/postmark", json={}),
        from_sparkpost(scene, {"type": "bounce"}, token="another"),
    ]
    assert [answer.status_code for answer in answers] == [401] * len(answers)
    assert {answer.json()["error"]["code"] for answer in answers} == {"forged"}
    assert status(scene, message)[0] == "delivered" and not held(scene, who)
    assert set(FETCHED) <= set(SERVED)


def test_a_provider_that_is_not_configured_gets_404(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Scene(tmp_path_factory.mktemp("none")) as bare:
        for provider in ("ses", "sendgrid", "mailgun", "postmark", "sparkpost", "mandrill"):
            assert bare.http.post(f"/in/{provider}", json={}).status_code == 404


def test_an_unreadable_body_is_refused_with_the_reason(scene: Scene) -> None:
    def signed(body: bytes) -> httpx.Response:
        signature = base64.b64encode(SENDGRID.sign(b"1" + body, ec.ECDSA(hashes.SHA256()))).decode()
        headers = {sendgrid.SIGNATURE: signature, sendgrid.TIMESTAMP: "1"}
        return scene.http.post("/in/sendgrid", content=body, headers=headers)

    for body, why in (
        (b"[{", "not JSON"),
        (b"{}", "not a list"),
        (b"[" * 100_000, "not JSON"),
        (b'[{"event": "bounce", "timestamp": "soon"}]', "timestamp: no time: 'soon'"),
    ):
        answer = signed(body)
        assert answer.status_code == 400 and why in answer.json()["error"]["message"]
    assert signed(b'[1, null, {"event": "new one"}, {"event": ["bounce"]}]').json()["taken"] == 0
    assert scene.http.post("/in/sendgrid", content=b"x" * (11 << 20)).status_code == 413
    assert scene.http.get("/in/sendgrid").status_code == 405


def test_one_bad_event_of_a_batch_does_not_lose_the_others(scene: Scene) -> None:
    message = sent(scene, "batch@example.com")
    bad = bounced("batch@example.com", timestamp="soon")
    answer = from_sendgrid(scene, bad, bounced("batch@example.com", sg_event_id="batch"), bad)
    assert answer.json() == {"taken": 1, "known": 0, "unknown": 0, "malformed": 2}
    assert status(scene, message) == ("bounced", "hard", "user_unknown")


def test_a_batch_of_thousands_lets_other_writes_in_between(scene: Scene) -> None:
    message = sent(scene, "thousands@example.com")
    strangers = [bounced(f"{n}@elsewhere.example") for n in range(3000)]
    waits_s: list[float] = []
    started = time.perf_counter()
    with ThreadPoolExecutor(1) as other:
        telling = other.submit(from_sendgrid, scene, *strangers, bounced("thousands@example.com"))
        while not telling.done():
            asked = time.perf_counter()
            scene.write(lambda connection: None)
            waits_s.append(time.perf_counter() - asked)
    took_s = time.perf_counter() - started
    assert telling.result().json() == {"taken": 1, "known": 0, "unknown": 3000}
    assert status(scene, message) == ("bounced", "hard", "user_unknown")
    assert max(waits_s) < took_s / 2


def test_of_a_batch_in_which_one_event_meets_a_fault_of_ours_the_others_are_settled(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = [sent(scene, f"batch{n}@example.com") for n in range(3)]
    real = late_reports.apply_report

    def settle(connection: sa.Connection, late_report: late_reports.LateReport) -> bool:
        if late_report.message == messages[1]:
            raise KeyError("ours")
        return real(connection, late_report)

    monkeypatch.setattr(late_reports, "apply_report", settle)
    events = [bounced(f"batch{n}@example.com") for n in range(3)]
    assert from_sendgrid(scene, *events).status_code == 500
    assert [status(scene, message)[0] for message in messages] == ["bounced", "delivered", "bounced"]
    monkeypatch.setattr(late_reports, "apply_report", real)
    assert from_sendgrid(scene, *events).json() == {"taken": 1, "known": 2, "unknown": 0}


# --- each provider's words


def bounce_of_ses(recipient: str, message_id: str = "", receipt: str = "", **more: object) -> dict[str, Any]:
    return {
        "notificationType": "Bounce",
        "bounce": {
            "bounceType": "Permanent", "bounceSubType": "General", "timestamp": datetime.now(UTC).isoformat(),
            "feedbackId": f"f-{recipient}", "reportingMTA": "dns; mx.ses.example",
            "bouncedRecipients": [
                {"emailAddress": recipient, "action": "failed", "status": "5.1.1", "diagnosticCode": f"smtp; {DEAD}"}
            ],
        },
        "mail": {"messageId": receipt, "source": "app@sender.test", "commonHeaders": {"messageId": f"<{message_id}>"}},
    } | more  # fmt: skip


@pytest.mark.parametrize("version", ["1", "2"])
def test_ses_is_known_by_the_id_that_its_250_gave(scene: Scene, version: str) -> None:
    who = f"ses{version}@example.com"
    message = sent(scene, who, f"Ok 0102018f-{version}-000000")
    said = bounce_of_ses(who, "another@email.amazonses.com", f"0102018f-{version}-000000")
    assert from_amazon(scene, said, version=version).json()["taken"] == 1
    assert status(scene, message) == ("bounced", "hard", "user_unknown")
    complaint = {
        "notificationType": "Complaint",
        "complaint": {"complainedRecipients": [{"emailAddress": who}], "timestamp": datetime.now(UTC).isoformat(),
                      "feedbackId": f"c-{who}", "complaintFeedbackType": "abuse"},
        "mail": said["mail"],
    }  # fmt: skip
    assert from_amazon(scene, complaint, version=version).json()["taken"] == 1
    assert scene.delivery(message)["complained_at"] is not None
    assert from_amazon(scene, "Successfully validated SNS topic for Amazon SES event publishing.").json()["taken"] == 0


def test_a_subscription_is_confirmed_at_amazon_wherever_the_message_points(scene: Scene) -> None:
    topic = "arn%3Aaws%3Asns%3Aeu-west-1%3A123456789012%3Abounces"
    url = f"https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={topic}&Token=t%26u"
    for pointed in ("https://evil.example/", "no url", "https://sns.eu-west-1.amazonaws.com/ x"):
        FETCHED.clear()
        answer = from_amazon(scene, "", Type="SubscriptionConfirmation", Token="t&u", SubscribeURL=pointed)
        assert answer.status_code == 200
        assert FETCHED[-1] == url and not any("evil" in one or " " in one for one in FETCHED)
    assert from_amazon(scene, "", Type="SubscriptionConfirmation", Token="t" * 3000).status_code == 400


def test_mailgun_tells_soft_from_hard_and_a_token_counts_once(scene: Scene) -> None:
    who = "mg@example.com"
    message = sent(scene, who)
    event = {
        "event": "failed", "severity": "temporary", "id": "mg1", "timestamp": time.time(), "recipient": who,
        "message": {"headers": {"message-id": f"{who}.id"}}, "reason": "generic",
        "delivery-status": {"code": 452, "message": "4.2.2 mailbox is full", "mx-host": "mx.example.com"},
    }  # fmt: skip
    assert from_mailgun(scene, event, token="once").json()["taken"] == 1
    assert status(scene, message)[0] == "delivered"
    [delayed] = scene.events(message, EventType.DEFERRED)
    assert "mailbox is full" in delayed["detail"]
    dead = event | {"severity": "permanent", "id": "mg2", "delivery-status": {"code": 550, "message": DEAD}}
    assert from_mailgun(scene, dead, token="once").json()["taken"] == 0  # another body under a token that was used
    assert status(scene, message)[0] == "delivered"
    assert from_mailgun(scene, dead).json()["taken"] == 1
    assert status(scene, message) == ("bounced", "hard", "user_unknown")
    left = event | {"event": "unsubscribed", "id": "mg3"}
    assert from_mailgun(scene, left).json()["taken"] == 1
    assert ("stream", "unsubscribe") in held(scene, who)


def test_postmark_and_sparkpost_are_understood(scene: Scene) -> None:
    uuid = "883953f4-6105-42a2-a16a-77a8eac79483"
    message = sent(scene, "pm@example.com", f"Ok: queued as {uuid}")
    now = datetime.now(UTC).isoformat()
    record = {"RecordType": "Bounce", "ID": 42, "Type": "SoftBounce", "MessageID": uuid, "Email": "pm@example.com",
              "BouncedAt": now, "Details": "smtp;552 5.2.2 mailbox is full"}  # fmt: skip
    assert from_postmark(scene, record | {"Type": "AutoResponder"}).json()["taken"] == 0
    assert from_postmark(scene, record).json()["taken"] == 1
    assert status(scene, message) == ("bounced", "soft", "mailbox_full") and not held(scene, "pm@example.com")
    complaint = record | {"RecordType": "SpamComplaint", "Type": "SpamComplaint", "ID": 43}
    assert from_postmark(scene, complaint).json()["taken"] == 1
    assert held(scene, "pm@example.com") == [("all", "complaint")]

    message = sent(scene, "sp@example.com")
    secret = scene.ring.derive_secret(return_path.KEY_PURPOSE)
    event = {
        "type": "bounce", "event_id": "1", "timestamp": str(int(time.time())), "rcpt_to": "sp@example.com",
        "msg_from": return_path.make_mailbox(secret, DOMAIN, ReturnToken(Purpose.BOUNCE, message, 0)),
        "raw_reason": DEAD,
    }  # fmt: skip
    assert from_sparkpost(scene).json()["taken"] == 0
    assert from_sparkpost(scene, event, event | {"type": "open"}).json()["taken"] == 1
    assert status(scene, message) == ("bounced", "hard", "user_unknown")


# --- any input


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_KEYS = (
    "event", "timestamp", "email", "event-data", "msys", "type", "RecordType", "Type", "notificationType", "bounce",
    "bouncedRecipients", "mail", "BouncedAt", "message", "delivery-status", "severity", "bounced", "failed", "Bounce",
)  # fmt: skip
_SHAPED = st.dictionaries(st.sampled_from(_KEYS), st.sampled_from(_KEYS) | _JSON, max_size=6)


@given(_JSON | _SHAPED | st.lists(_SHAPED, max_size=3) | st.fixed_dictionaries({"event-data": _SHAPED}))
def test_any_json_has_an_answer(data: object) -> None:
    for read in (
        sendgrid.parse_events,
        mailgun.parse_events,
        postmark.parse_events,
        sparkpost.parse_events,
        lambda said: ses.parse_events(said, "m"),
    ):
        try:
            list(read(data))
        except MalformedPayloadError as error:
            assert str(error)
