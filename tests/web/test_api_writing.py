"""The API's writes to messages and the queue, and what is said of a body with faults."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from relay.store.database import tables
from relay.store.database.tables import Status
from relay.store.queue import leases
from relay.store.queue.queue_facts import AttemptRecord
from tests.web.api_client import ApiClient
from tests.web.deferred import defer
from tests.web.scene import Scene

GREYLISTED = AttemptRecord("primary", "rcpt", 451, "4.7.1", "come back later", 3)
REFUSED = AttemptRecord("primary", "rcpt", 550, "5.1.1", "no such user", 12)


# --- the queue


def test_a_delivery_is_held_released_retried_and_dropped(scene: Scene, api: ApiClient) -> None:
    message = defer(scene, "one@queue.example", "two@queue.example")
    one = f"{message}.0"

    def row() -> sa.RowMapping:
        return scene.delivery(message, 0)

    assert api.ask("POST", f"/queue/{one}/hold") == {"deliveries": 1}
    [held] = api.items("/queue", held="true")
    expires_at = held["expires_at"]
    assert (held["id"], held["next_attempt_at"]) == (one, expires_at) and held["held_at"]
    assert api.get(f"/messages/{message}")["deliveries"][0]["held_at"] == held["held_at"]
    assert api.ask("POST", f"/queue/{one}/hold") == {"deliveries": 1}
    assert api.items("/queue", held="true") == [held], "since when it is held does not change"
    assert api.ask("POST", f"/queue/{one}/release", 202) == {"deliveries": 1}
    assert row()["held_at"] is None and row()["next_attempt_at"] <= datetime.now(UTC)
    assert "waits for that" in api.refusal("POST", f"/queue/{one}/release", 404)
    assert api.ask("POST", f"/queue/{message}/retry", 202) == {"deliveries": 2}
    assert api.ask("POST", f"/queue/{one}/drop", json={"notify": False}) == {
        "deliveries": 1, "under_way": 0, "notified": 0,
    }  # fmt: skip
    assert (row()["status"], row()["category"]) == ("expired", "dropped")
    for action in ("hold", "release", "retry", "drop"):
        assert "waits for that" in api.refusal("POST", f"/queue/{one}/{action}", 404)
        assert "waits for that" in api.refusal("POST", f"/queue/nothing/{action}", 404)
    assert api.ask("POST", f"/queue/{message}/drop") == {"deliveries": 1, "under_way": 0, "notified": 0}


def test_what_waits_is_found_by_tag_and_time_with_all_its_attempts(scene: Scene, api: ApiClient) -> None:
    due = datetime.now(UTC) + timedelta(hours=1)
    outage = {"kind": "soft", "category": "connection", "next_attempt_at": due, "counts_as_attempt": False}
    scene.file("out@tagged.example", status=Status.DEFERRED, attempt=GREYLISTED, outcome=outage, tags=["Outage"])
    [found] = api.items("/queue", tag="outage", **{"from": "1h"})
    assert (found["recipient"], found["attempts"]) == ("out@tagged.example", 1) and found["last_attempt"]
    assert api.items("/queue", tag="outage", to="1h") == api.items("/queue", tag="another") == []


def test_whoever_attempts_a_delivery_loses_its_lease_when_it_is_held(scene: Scene, api: ApiClient) -> None:
    message = defer(scene, "leased@queue.example")
    now = datetime.now(UTC)
    api.ask("POST", f"/queue/{message}/retry", 202)
    clock = leases.LeaseClock(now + timedelta(minutes=1), now)
    until_ = now + timedelta(minutes=5)
    assert message in scene.write(lambda connection: leases.lease_due(connection, clock, until_, "worker", 10))
    assert api.items("/queue", recipient="leased@queue.example")[0]["under_way"]
    api.ask("POST", f"/queue/{message}/hold")
    keys = [leases.DeliveryKey(message, 0)]
    assert scene.read(lambda connection: leases.find_lost_leases(connection, "worker", keys)) == set(keys)
    assert not scene.write(lambda connection: leases.lease_due(connection, clock, until_, "worker", 10)).get(message)


def test_a_dropped_delivery_is_told_to_its_sender_where_that_is_wanted(scene: Scene, api: ApiClient) -> None:
    message = defer(scene, "told@queue.example", reverse_path="app@example.com", accepts_dsn=True)
    assert api.ask("POST", f"/queue/{message}/drop", json={"notify": True})["notified"] == 1
    assert scene.delivery(message)["dsn_due"] == "failed"


# --- messages


def test_a_mail_is_sent_again_to_those_who_did_not_get_it(scene: Scene, api: ApiClient) -> None:
    message = scene.file("gone@again.example", status=Status.BOUNCED, attempt=REFUSED, subject="Once more", tags=["a"])
    answer = api.ask("POST", f"/messages/{message}/resend", 202)
    again = api.get(f"/messages/{answer['message']}")
    assert answer["recipients"] == ["gone@again.example"] and again["id"] != message
    assert (again["subject"], again["tags"], again["message_id"]) == ("Once more", ["a"], "1@example.com")
    [delivery] = again["deliveries"]
    assert (delivery["status"], delivery["attempts"]) == ("queued", [])
    assert [one["type"] for one in api.items("/events", message=again["id"])] == ["accepted"]
    assert "still waits" in api.refusal("POST", f"/messages/{again['id']}/resend", 409)
    for who in ("GONE@again.example", "nobody@again.example"):
        answer = api.ask(
            "POST", f"/messages/{message}/resend", 202 if "GONE" in who else 409, json={"recipients": [who]}
        )
    assert answer["error"]["message"] == "nobody@again.example is no recipient of this message"
    without = scene.file("ann@again.example", octets=None)
    assert "not kept" in api.refusal("POST", f"/messages/{without}/resend", 409)
    assert api.refusal("POST", "/messages/06h1q588v53rmvhei95g/resend", 404)


def test_mail_is_deleted_in_a_sandbox(scene: Scene, api: ApiClient) -> None:
    one, other, kept = (scene.file(f"{who}@away.example", tags=[who]) for who in ("one", "other", "kept"))
    api.ask("DELETE", f"/messages/{one}", 204)
    assert api.refusal("DELETE", f"/messages/{one}", 404) and api.refusal("GET", f"/messages/{one}", 404)
    assert api.ask("DELETE", "/messages", params={"recipient": "other@away.example"}) == {"deleted": 1}
    assert [message["id"] for message in api.items("/messages", recipient="away.example")] == [kept]
    for table in (tables.event, tables.delivery, tables.content, tables.message_label):
        gone = sa.select(sa.func.count()).where(table.c.message.in_([one, other]))
        assert scene.read(lambda connection, gone=gone: connection.scalar(gone)) == 0  # type: ignore[misc]


def test_mail_is_not_deleted_where_it_is_delivered(tmp_path: Path) -> None:
    given = {"upstream": [{"name": "primary", "address": "127.0.0.1:9", "tls": "off"}]}
    with Scene(tmp_path, given) as real, ApiClient(real) as client:  # type: ignore[arg-type]
        message = real.file()
        for path in (f"/messages/{message}", "/messages"):
            assert "in a sandbox only" in client.refusal("DELETE", path, 409)
        health = client.get("/health")
        assert (health["mode"], health["upstreams"][0]["state"], health["status"]) == ("inline", "unknown", "degraded")


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/suppressions", "", "address: is required"),
        ("/suppressions", "nope", "body: must be valid JSON"),
        ("/suppressions", "[]", "body: must be an object"),
        (
            "/suppressions",
            '{"address": "a@b.example", "reason": "spam"}',
            'reason: must be one of hard_bounce, unsubscribe, complaint or manual, not "spam"',
        ),
        ("/suppressions", '{"address": 5, "x": 1}', "address: must be a text, not 5; x: there is no such field here"),
        ("/keys", '{"name": "a b", "scopes": []}', "name: must be 1 to 64 letters"),
        ("/keys", '{"name": "a", "scopes": ["read"], "expires_at": "soon"}', "expires_at: must be a time such as"),
        ("/webhooks", '{"url": 5, "machines": "no"}', 'url: must be a text; machines: must be true or false, not "no"'),
        ("/webhooks", '{"url": "https://a.example/", "events": ["x"]}', "events.0: must be one of *, accepted"),
        ("/webhooks/x/replay", "{}", "body: needs event or since"),
        ("/webhooks/x/replay", '{"since": "x"}', "since: must be a duration such as"),
        ("/bulk/messages", '{"action": "retry", "messages": ["x"]}', "messages.0: must be the id of a message"),
    ],
)  # fmt: skip
def test_a_fault_of_a_body_is_named_with_what_is_allowed(api: ApiClient, path: str, body: str, expected: str) -> None:
    assert api.refusal("POST", path, 422, content=body).startswith(expected)
