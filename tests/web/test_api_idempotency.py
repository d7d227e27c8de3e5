"""A write of the API with an Idempotency-Key is done once, however often it is asked for."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from relay.store.console import idempotency
from relay.store.database import console_tables
from tests.web.api_client import ApiClient
from tests.web.scene import Scene


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
