"""The API's writes: to messages, the queue, suppressions and keys; each once, however often it is asked for."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from relay.store.console import idempotency
from relay.store.database import console_tables, tables
from relay.store.database.tables import Status
from relay.store.queue import leases
from relay.store.queue.queue_facts import AttemptRecord
from tests.upstream import Upstream
from tests.waiting import until
from tests.waypost_server import Waypost, html_mail, tracking_urls
from tests.web.api_client import ApiClient, Json
from tests.web.scene import Scene

GREYLISTED = AttemptRecord("primary", "rcpt", 451, "4.7.1", "come back later", 3)
REFUSED = AttemptRecord("primary", "rcpt", 550, "5.1.1", "no such user", 12)
HELD = "e451-4.7.1-n1@example.com"  # greylisted once
HTML_MAIL = html_mail(subject="Seen by a test suite")


@pytest.fixture(scope="module")
def api(scene: Scene) -> Iterator[ApiClient]:
    with ApiClient(scene) as client:
        yield client


def wait(scene: Scene, *recipients: str, **fields: Any) -> str:  # Any: those of the message's row
    """A message whose deliveries wait for an hour."""
    due = datetime.now(UTC) + timedelta(hours=1)
    outcome = {"kind": "soft", "category": "greylisted", "next_attempt_at": due}
    return scene.file(*recipients, status=Status.DEFERRED, attempt=GREYLISTED, outcome=outcome, **fields)


# --- the queue


def test_a_delivery_is_held_released_retried_and_dropped(scene: Scene, api: ApiClient) -> None:
    message = wait(scene, "one@queue.example", "two@queue.example")
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
    message = wait(scene, "leased@queue.example")
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
    message = wait(scene, "told@queue.example", reverse_path="app@example.com", accepts_dsn=True)
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


# --- suppressions


def test_an_address_is_suppressed_and_allowed_again(scene: Scene, api: ApiClient) -> None:
    made = api.ask("POST", "/suppressions", 201, json={"address": "Ann@Stop.Example", "expires_in": "30d"})
    assert (made["address"], made["scope"], made["reason"]) == ("ann@stop.example", "all", "manual")
    assert made["evidence"] == "by the API key tests"
    ends = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=29) < ends <= timedelta(days=30)
    assert api.ask("POST", "/suppressions", 200, json={"address": "ann@stop.example", "expires_in": "1d"}) == made
    stream = {"address": "ann@stop.example", "stream": "News", "reason": "unsubscribe", "evidence": "on the phone"}
    assert api.ask("POST", "/suppressions", 201, json=stream)["stream"] == "news"
    assert api.ask("DELETE", "/suppressions", params={"address": "ANN@stop.example", "stream": "news"}) == {
        "removed": 1
    }
    assert api.ask("DELETE", "/suppressions", params={"address": "ann@stop.example"}) == {"removed": 1}
    assert "is not suppressed" in api.refusal("DELETE", "/suppressions", 404, params={"address": "ann@stop.example"})


def test_a_suppression_ends_at_a_time_and_is_found_by_when_it_was_added(api: ApiClient) -> None:
    ends = (datetime.now(UTC) + timedelta(days=3)).replace(microsecond=0)
    given = {"address": "ends@stop.example", "expires_at": ends.isoformat()}
    made = api.ask("POST", "/suppressions", 201, json=given)
    assert datetime.fromisoformat(made["expires_at"]) == ends and made["expires_at"].endswith("Z")
    sooner = api.ask("POST", "/suppressions", 201, json=given | {"address": "b@stop.example", "expires_in": "2d"})
    assert datetime.fromisoformat(sooner["expires_at"]) < ends
    assert api.items("/suppressions", address="ends@stop.example", **{"from": "1h"}) == [made]
    assert api.items("/suppressions", address="ends@stop.example", to="1h") == []


@pytest.mark.parametrize(
    ("path", "body", "said"),
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
def test_a_fault_of_a_body_is_named_with_what_is_allowed(api: ApiClient, path: str, body: str, said: str) -> None:
    assert api.refusal("POST", path, 422, content=body).startswith(said)


def test_many_addresses_are_suppressed_and_allowed_again_together(api: ApiClient) -> None:
    items: list[Json] = [{"address": f"{n}@many.example", "reason": "hard_bounce"} for n in range(3000)]
    assert api.ask("POST", "/suppressions/bulk", json={"items": items}) == {"added": 3000, "known": 0}
    assert api.ask("POST", "/suppressions/bulk", json={"items": items[:7]}) == {"added": 0, "known": 7}
    fault = api.refusal("POST", "/suppressions/bulk", 422, json={"items": [*items[:2], {"address": "nobody"}]})
    assert fault == "items.2.address: must be a mail address such as ann@example.com"
    gone = [{"address": item["address"]} for item in items]
    assert api.ask("POST", "/suppressions/bulk/remove", json={"items": gone}) == {"removed": 3000}
    assert api.items("/suppressions", q="many.example") == []


# --- keys


def test_keys_are_made_listed_and_ended(scene: Scene, api: ApiClient) -> None:
    new = {"name": "robot", "scopes": ["write", "read"], "expires_at": "2999-12-31T00:00:00Z"}
    made = api.ask("POST", "/keys", 201, json=new)
    assert made["scopes"] == ["read", "write"] and made["key"].startswith("wp_")
    assert "robot" in {one["name"] for one in api.items("/keys")} and made["key"] not in str(api.get("/keys"))
    assert api.refusal("POST", "/keys", 409, json=new) == "there is a key robot already"
    assert "there is no scope 'all'" in api.refusal("POST", "/keys", 422, json=new | {"name": "x", "scopes": ["all"]})
    headers = {"authorization": f"Bearer {made['key']}"}
    with httpx.Client(base_url=api.http.base_url, headers=headers, timeout=60) as robot:
        added = robot.post("/suppressions", json={"address": "by@robot.example"})
        assert (added.status_code, added.json()["evidence"]) == (201, "by the API key robot")
        assert robot.post("/keys", json=new | {"name": "more"}).status_code == 403
        api.ask("DELETE", "/keys/robot", 204)
        assert robot.get("/messages").status_code == 401
    assert api.refusal("DELETE", "/keys/robot", 404)


# --- once


def test_a_write_with_an_idempotency_key_is_done_once(scene: Scene, api: ApiClient) -> None:
    message = scene.file("once@again.example")
    path, headers = f"/messages/{message}/resend", {"idempotency-key": "a key of mine"}
    assert "1 to 255 characters" in api.refusal("POST", path, 400, headers=headers)
    headers = {"idempotency-key": "order-1047"}
    first = api.http.post(path, headers=headers)
    again = api.http.post(path, headers=headers)
    assert first.status_code == again.status_code == 202 and again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert "idempotent-replayed" not in first.headers and again.headers["idempotent-replayed"] == "true"
    assert len(api.items("/messages", recipient="once@again.example")) == 2
    other = {"recipients": ["once@again.example"]}
    assert "another request" in api.refusal("POST", path, 422, headers=headers, json=other)
    with ApiClient(scene, name="somebody else") as somebody:
        assert somebody.ask("POST", path, 202, headers=headers)["message"] != first.json()["message"]
    refused = {"idempotency-key": "refused"}
    for _ in range(2):
        assert api.refusal("POST", "/messages/06h1q588v53rmvhei95g/resend", 404, headers=refused)


def test_of_two_equal_writes_at_a_time_one_is_done(scene: Scene, api: ApiClient) -> None:
    message = scene.file("twice@again.example")
    headers = {"idempotency-key": "at a time".replace(" ", "-")}
    with ThreadPoolExecutor(8) as pool:
        tries = [pool.submit(api.http.post, f"/messages/{message}/resend", headers=headers) for _ in range(8)]
        answers = [one.result() for one in tries]
    assert {one.status_code for one in answers} <= {202, 409}
    assert {one.json()["error"]["code"] for one in answers if one.status_code == 409} <= {"in_progress"}
    assert len(api.items("/messages", recipient="twice@again.example")) == 2


def test_answers_are_kept_for_a_day_and_keys_are_not_among_them(scene: Scene, api: ApiClient) -> None:
    table, now = console_tables.idempotent_answer, datetime.now(UTC)
    headers = {"idempotency-key": "a-new-key"}
    made = api.ask("POST", "/keys", 201, json={"name": "secret", "scopes": ["read"]}, headers=headers)
    bodies = scene.read(lambda connection: list(connection.scalars(sa.select(table.c.body))))
    assert not any(made["key"].encode() in body for body in bodies)
    api.ask("DELETE", "/keys/secret", 204)
    later = now + idempotency.KEEP + timedelta(hours=1)
    scene.write(lambda connection: idempotency.begin_write(connection, "tomorrow", "x", later))
    left = scene.read(lambda connection: list(connection.scalars(sa.select(table.c.digest))))
    assert left == ["tomorrow"]
    known = scene.write(lambda connection: idempotency.begin_write(connection, "tomorrow", "x", later))
    assert known is not None and known.status == 0
    crashed = later + timedelta(minutes=3)
    assert scene.write(lambda connection: idempotency.begin_write(connection, "tomorrow", "x", crashed)) is None


# --- the whole way


class Program:
    """A program that uses a server's API."""

    def __init__(self, relay: Waypost, name: str) -> None:
        self._relay, self._name = relay, name
        key = relay.cli("api-key", "create", name).decode().strip()
        headers = {"authorization": f"Bearer {key}"}
        self.http = httpx.Client(base_url=f"{relay.console}/api/v1", headers=headers, timeout=60)

    def __enter__(self) -> httpx.Client:
        return self.http

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self._relay.cli("api-key", "revoke", self._name)


def test_a_test_suite_reads_the_mail_that_its_app_sent(sandbox: Waypost) -> None:
    with Program(sandbox, "suite") as program:
        sandbox.send(HTML_MAIL, "suite@example.com")
        asked = {"recipient": "suite@example.com", "wait": "10s"}
        [message] = program.get("/messages", params=asked).json()["items"]
        one = f"/messages/{message['id']}"
        source = program.get(f"{one}/source")
        assert source.headers["content-type"] == "message/rfc822" and b"List-Unsubscribe" in source.content
        urls = tracking_urls(source.content)
        assert len(urls["o"]) == len(urls["c"]) == 1
        received = program.get(f"{one}/source", params={"as": "received"}).content
        assert received.endswith(HTML_MAIL) and not tracking_urls(received)["c"]
        html = program.get(f"{one}/html")
        assert html.headers["content-type"].startswith("text/html") and urls["c"][0] in html.text
        assert "sandbox" in html.headers["content-security-policy"]
        assert program.get(f"{one}/text").status_code == 404
        assert program.get(f"{one}/source", params={"number": 1}).status_code == 404
        again = program.post(f"{one}/resend").json()["message"]
        until(lambda: program.get(f"/messages/{again}").json()["deliveries"][0]["status"] == "delivered")
        copy = program.get(f"/messages/{again}/source").content
        assert b"Seen by a test suite" in copy and tracking_urls(copy)["c"] != urls["c"]
        assert sandbox.get(tracking_urls(copy)["c"][0]).status_code == 302
        until(lambda: sum(program.get(f"/messages/{again}").json()["clicks"].values()) == 1)
        assert program.delete("/messages", params={"recipient": "suite@example.com"}).json() == {"deleted": 2}


def test_held_mail_stays_until_it_is_released_and_health_says_what_waits(tmp_path: Path) -> None:
    upstream = Upstream()
    try:
        with (
            Waypost(tmp_path, upstream.port, '[delivery]\nretry = ["1s"]\n') as relay,
            Program(relay, "ops") as program,
        ):
            relay.send(html_mail(), HELD)
            [waiting] = program.get("/queue").json()["items"]
            assert program.post(f"/queue/{waiting['id']}/hold").status_code == 200
            until(lambda: program.get("/health").json()["upstreams"][0]["state"] == "up")
            health = program.get("/health").json()
            assert (health["status"], health["queue"]["waiting"], health["queue"]["held"]) == ("ok", 1, 1)
            time.sleep(1.5)  # in which it would have been tried again
            assert len(program.get("/queue", params={"held": "true"}).json()["items"]) == 1
            assert program.post(f"/queue/{waiting['id']}/release").status_code == 202
            until(lambda: not program.get("/queue").json()["items"])
            assert relay.events("delivered", HELD)
            upstream.stop()
            relay.send(html_mail(), "down@example.com")
            until(lambda: program.get("/health").json()["status"] == "degraded")
            [down] = program.get("/health").json()["upstreams"]
            assert down["state"] == "down" and down["down_since"] and "onnect" in down["fault"]
    finally:
        upstream.close()
