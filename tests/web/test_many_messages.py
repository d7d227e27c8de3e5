"""The same done to many messages, by the API and by ticking them; and the list that follows what happens."""

import csv
import io
import json
import re
from typing import Any

import httpx

from relay import ids
from relay.store.database.tables import Status
from tests.web.api_client import ApiClient
from tests.web.deferred import defer
from tests.web.scene import Scene, csrf


def tick(browser: httpx.Client, path: str, action: str, *messages: str, back: str = "/messages") -> httpx.Response:
    form: dict[str, Any] = {"csrf": csrf(browser.get("/settings")), "do": action, "message": messages, "back": back}
    return browser.post(path, data=form)


def test_the_api_does_the_same_to_many_messages_each_for_itself(scene: Scene, api: ApiClient) -> None:
    waiting, other = (defer(scene, "late@example.com") for _ in range(2))
    sent, unknown = scene.file(), ids.new()
    body = {"action": "hold", "messages": [waiting, other, sent, unknown]}
    held = api.ask("POST", "/bulk/messages", json=body)["items"]
    assert [(one["deliveries"], one["error"] is None) for one in held] == [(1, True), (1, True), (0, False), (0, False)]
    assert scene.delivery(waiting)["held_at"] and scene.delivery(other)["held_at"]
    again = api.ask("POST", "/bulk/messages", json={"action": "resend", "messages": [sent, waiting, unknown]})["items"]
    assert api.get(f"/messages/{again[0]['sent_as']}")["deliveries"][0]["recipient"] == "you@example.com"
    assert [one["sent_as"] for one in again[1:]] == [None, None]
    assert "still waits" in again[1]["error"] and "no such message" in again[2]["error"]
    done = api.items("/audit", action="queue.hold", target=waiting)
    assert len(done) == 1
    with ApiClient(scene, "messages", name="of-messages") as limited, ApiClient(scene, "read", name="reader") as reader:
        assert limited.ask("POST", "/bulk/messages", json=body)["items"]
        assert reader.refusal("POST", "/bulk/messages", 403, json=body)
    for odd in ({"action": "burn", "messages": [sent]}, {"action": "drop", "messages": ["x"]}, {"action": "drop"}):
        assert api.refusal("POST", "/bulk/messages", 422, json=odd)


def test_ticked_messages_are_changed_and_said_so(scene: Scene, browser: httpx.Client) -> None:
    waiting, sent = defer(scene, "late@example.com"), scene.file()
    page = browser.get("/messages").text
    assert f'name="message" value="{waiting}"' in page
    answer = tick(browser, "/messages", "drop", waiting, sent, back="/messages?status=deferred")
    assert (answer.status_code, answer.headers["location"]) == (303, "/messages?status=deferred")
    said = browser.get("/messages").text
    assert "1 delivery of 1 message: dropped" in said and "1 message: nothing of it waits" in said
    assert scene.delivery(waiting)["status"] == Status.EXPIRED
    tick(browser, "/messages", "resend", sent)
    assert "1 delivery of 1 message: sent again" in browser.get("/messages").text
    tick(browser, "/messages", "retry")
    assert "Nothing was chosen" in browser.get("/messages").text
    elsewhere = tick(browser, "/messages", "hold", waiting, back="//elsewhere.example/")
    assert elsewhere.headers["location"] == "/messages"
    assert tick(browser, "/messages", "burn", sent).status_code == 400
    assert tick(browser, "/messages", "drop", "x").status_code == 400


def test_ticked_messages_are_exported(scene: Scene, browser: httpx.Client) -> None:
    one, two, _ = (scene.file(subject=f"Number {n}") for n in range(3))
    answer = tick(browser, "/messages/export", "csv", one, two)
    assert answer.headers["content-disposition"] == 'attachment; filename="messages.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert {row["subject"] for row in rows} == {"Number 0", "Number 1"}
    exported = json.loads(tick(browser, "/messages/export", "json", two).text)
    assert "Number 1" in json.dumps(exported) and "Number 0" not in json.dumps(exported)
    assert len(list(csv.DictReader(io.StringIO(tick(browser, "/messages/export", "csv").text)))) == 0


def test_the_list_is_told_that_mail_has_changed(scene: Scene, browser: httpx.Client) -> None:
    with browser.stream("GET", "/messages/live") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert next(lines) == "retry: 3000"
        scene.file()
        told = next(line for line in lines if line.startswith("data: "))
        assert re.fullmatch(r"data: [0-9]+", told)
    assert httpx.get(f"{scene.console}/messages/live").status_code == 303  # nobody is signed in
