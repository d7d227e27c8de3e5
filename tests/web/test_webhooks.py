"""Webhooks as operators add, watch and mend them: by the command, the API and the console."""

import base64
import json
import re
from collections.abc import Iterator

import httpx
import pytest

from tests.receiver import Receiver, receiving
from tests.waiting import until
from tests.waypost_server import Waypost, html_mail


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


@pytest.fixture(scope="module")
def api(sandbox: Waypost) -> Iterator[httpx.Client]:
    key = sandbox.cli("api-key", "create", "webhooks").decode().strip().splitlines()[-1].split()[-1]
    with httpx.Client(base_url=f"{sandbox.console}/api/v1", headers={"authorization": f"Bearer {key}"}) as client:
        yield client


@pytest.fixture(scope="module")
def operator(sandbox: Waypost) -> Iterator[httpx.Client]:
    sandbox.cli("user", "add", "hooked", stdin=b"correct horse battery\ncorrect horse battery\n")
    with httpx.Client(base_url=sandbox.console, follow_redirects=True) as client:
        page = client.get("/login").text
        form = dict(re.findall(r'name="(csrf|next)" value="([^"]*)"', page))
        client.post("/login", data=form | {"name": "hooked", "password": "correct horse battery"})
        yield client


def test_the_command_adds_tries_logs_and_removes_one(sandbox: Waypost, receiver: Receiver) -> None:
    [made] = sandbox.rows("webhooks", "add", f"{receiver.url}/cli/ok", "--events", "delivered,bounced")
    assert made["secret"].startswith("whsec_") and made["events"] == ["delivered", "bounced"] and made["state"] == "on"
    hook = made["id"]
    [tried] = sandbox.rows("webhooks", "test", hook)
    assert tried["code"] == 200 and receiver.at("/cli/ok")[0].json["reasons"] == ["test"]
    sandbox.send(html_mail(), "cli-hook@example.com")
    [_, arrived] = receiver.wait("/cli/ok", 2)
    assert arrived.json["recipient"] == "cli-hook@example.com"
    [logged] = sandbox.wait_for_rows("webhooks", "log", hook, fits=len)
    assert logged["request"]["body"].encode() == arrived.body and logged["response"] == "thank you"
    assert b"1 event is sent again" in sandbox.cli("webhooks", "replay", hook, "--event", arrived.json["id"])
    assert receiver.wait("/cli/ok", 3)[2].body == arrived.body
    listed = sandbox.rows("webhooks", "list")
    assert hook in {row["id"] for row in listed} and "secret" not in json.dumps(listed)
    sandbox.cli("webhooks", "remove", hook)


def test_a_secret_need_not_stand_on_the_command_line(sandbox: Waypost) -> None:
    said = sandbox.cli("webhooks", "add", "https://a.example/", "--secret", "-", stdin=b"from standard input\n")
    made = json.loads(said)
    assert made["secret"] == "from standard input"
    sandbox.cli("webhooks", "remove", made["id"])


def test_what_cannot_be_a_webhook_is_refused_with_what_to_say_instead(sandbox: Waypost, api: httpx.Client) -> None:
    refused = sandbox.cli("webhooks", "add", "ftp://a.example/", "--events", "exploded", status=1)
    assert b"must be an address such as" in refused and b"events" in refused
    assert b"there is no webhook" in sandbox.cli("webhooks", "log", "nobody", status=1)
    answer = api.post("/webhooks", json={"url": "https://a.example/", "secret": "whsec_!"})
    assert answer.status_code == 422 and "base64" in answer.json()["error"]["message"]


def test_the_api_adds_shows_disables_replays_and_removes_one(
    sandbox: Waypost, receiver: Receiver, api: httpx.Client
) -> None:
    receiver.answers["/api/hook"] = 410
    answer = api.post(
        "/webhooks", json={"url": f"{receiver.url}/api/hook", "format": "sendgrid", "events": ["delivered"]}
    )
    made = answer.json()
    assert answer.status_code == 201 and base64.b64decode(made["public_key"])
    one = f"/webhooks/{made['id']}"
    sandbox.send(html_mail(), "api-hook@example.com")
    receiver.wait("/api/hook")
    until(lambda: api.get(one).json()["state"] != "on")
    shown = api.get(one).json()
    assert (shown["state"], shown["reason"]) == ("disabled", "it answered 410 Gone") and "secret" not in shown
    receiver.answers["/api/hook"] = 200
    assert api.post(f"{one}/enable").json()["state"] == "on"
    again = api.post(f"{one}/replay", json={"since": "1h"})
    assert again.status_code == 202 and again.json()["replayed"] >= 1
    receiver.wait("/api/hook", 2)
    [failed] = api.get(f"{one}/log", params={"failed": "1"}).json()["items"]
    assert failed["code"] == 410 and json.loads(failed["request"]["body"])[0]["email"] == "api-hook@example.com"
    assert api.post(f"{one}/replay", json={}).status_code == 422
    assert api.post(f"{one}/rotate").json()["secret"].startswith("whsec_")
    assert api.delete(one).status_code == 204 and api.get(one).status_code == 404
    assert api.delete(one).status_code == 404


def test_the_console_adds_one_and_shows_what_it_was_sent(
    sandbox: Waypost, receiver: Receiver, operator: httpx.Client
) -> None:
    page = operator.get("/webhooks").text
    csrf = re.findall(r'name="csrf" value="([^"]*)"', page)[0]
    url = receiver.url.replace("://", "://ann:pass-5417@")
    made = operator.post("/webhooks", data={"csrf": csrf, "url": f"{url}/console/ok", "events": ["accepted"]})
    assert made.status_code == 201 and "whsec_" in made.text
    hook = re.findall(r'action="/webhooks/([0-9a-v]{20})"', made.text)[0]
    sandbox.send(html_mail(subject="For the console"), "console-hook@example.com")
    receiver.wait("/console/ok")
    until(lambda: "not kept: this webhook was added" in operator.get(f"/webhooks/{hook}").text)
    page = operator.get(f"/webhooks/{hook}").text
    assert "thank you" not in page
    assert "whsec_" not in page and "pass-5417" not in page + operator.get("/webhooks").text
    assert "webhook-signature" in page and "console-hook" not in page  # `accepted` names nobody
    page = operator.post(f"/webhooks/{hook}", data={"csrf": csrf, "do": "disable"}).text
    assert "Nothing is sent to it until it is enabled" in page
    assert operator.post(f"/webhooks/{hook}", data={"csrf": csrf, "do": "remove"}).url.path == "/webhooks"
    assert operator.get(f"/webhooks/{hook}").status_code == 404
    refused = operator.post("/webhooks", data={"csrf": csrf, "url": "nowhere"}).text
    assert "Nothing was added" in refused
