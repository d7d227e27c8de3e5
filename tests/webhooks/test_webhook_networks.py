"""Where webhooks may lead: those of an operator anywhere, those of the console and the API to public addresses only."""

import ipaddress
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from relay import public_addresses
from relay.config.schema import Config
from relay.store.store import Store
from relay.store.webhooks import endpoints
from tests.receiver import Receiver, receiving
from tests.waypost_server import Waypost
from tests.webhooks.webhook_scene import WebhookScene

INSIDE = (
    "http://127.0.0.1:25/",
    "http://127.1/",
    "http://2130706433/",
    "http://localhost/",
    "http://0.0.0.0/",
    "http://0:8081/admin",
    "http://169.254.169.254/latest/meta-data/",
    "http://10.1.2.3/",
    "http://192.168.0.1/",
    "http://100.64.0.1/",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[2002:7f00:1::]/",
    "http://[fe80::1]/",
    "http://[fd00::1]/",
)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


@contextmanager
def program(relay: Waypost) -> Iterator[httpx.Client]:
    """A client of the API, whose key goes with it: other tests list the keys of the same server."""
    key = relay.cli("api-key", "create", "hooks", "--scope", "webhooks").decode().strip()
    headers = {"authorization": f"Bearer {key}"}
    with httpx.Client(base_url=f"{relay.console}/api/v1", headers=headers) as api:
        yield api
    relay.cli("api-key", "revoke", "hooks")


@pytest.mark.parametrize(
    ("address", "is_public"),
    [
        ("8.8.8.8", True),
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("192.0.0.8", False),
        ("192.0.0.192", False),
        ("168.63.129.16", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("2606:4700::1111", True),
        ("::", False),
        ("::1", False),
        ("::7f00:1", False),
        ("::ffff:8.8.8.8", True),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::808:808", True),
        ("64:ff9b::a00:1", False),
        ("64:ff9b:1::808:808", False),
        ("2002:808:808::", True),
        ("2002:a00:1::", False),
        ("2001:0:808:808::", False),
        ("2001:db8::1", False),
        ("fe80::1", False),
        ("fec0::1", False),
        ("fd00:ec2::254", False),
        ("ff02::1", False),
    ],
)
def test_public_is_what_the_internet_routes(address: str, is_public: bool) -> None:
    assert public_addresses.is_public(ipaddress.ip_address(address)) is is_public


def test_the_api_and_the_console_add_nothing_that_leads_inside(tmp_path: Path) -> None:
    with Waypost(tmp_path, upstream_port=9) as relay, program(relay) as api, httpx.Client() as browser:
        relay.cli("user", "add", "ann", stdin=b"correct horse\n")
        browser.post(f"{relay.console}/login", data={"name": "ann", "password": "correct horse"})
        [csrf] = set(re.findall(r'name="csrf" value="([^"]+)"', browser.get(f"{relay.console}/webhooks").text))
        for url in INSIDE:
            answer = api.post("/webhooks", json={"url": url})
            assert answer.status_code == 422, url
            assert "allow_networks" in answer.json()["error"]["message"]
            form = {"csrf": csrf, "url": url}
            said = browser.post(f"{relay.console}/webhooks", data=form, follow_redirects=True).text
            assert "Nothing was added" in said and "allow_networks" in said
        assert relay.rows("webhooks", "list") == []
        # The operator's own may be of the inside.
        [made] = relay.rows("webhooks", "add", INSIDE[0])
        assert made["source"] == "command"


def test_an_allowed_network_is_reached_and_its_answers_are_not_kept(tmp_path: Path, receiver: Receiver) -> None:
    tables = '[webhooks]\nallow_networks = ["127.0.0.0/8"]\n[delivery]\nmode = "queued"\n'
    with Waypost(tmp_path, upstream_port=9, tables=tables) as relay, program(relay) as api:
        made = api.post("/webhooks", json={"url": f"{receiver.url}/allowed/ok", "events": ["accepted"]})
        assert made.status_code == 201, made.text
        assert api.post("/webhooks", json={"url": "http://10.1.2.3/"}).status_code == 422
        relay.send(b"From: app@sender.test\r\nTo: a@example.com\r\n\r\nHello.\r\n", "a@example.com")
        receiver.wait("/allowed/ok")
        hook = made.json()["id"]
        logged: list[dict[str, Any]] = []
        while not logged:
            logged = api.get(f"/webhooks/{hook}/log").json()["items"]
        assert (logged[0]["code"], logged[0]["response"]) == (200, "")


def test_a_sandbox_on_loopback_reaches_its_own_machine_and_no_other(sandbox: Waypost) -> None:
    with program(sandbox) as api:
        made = api.post("/webhooks", json={"url": "http://127.0.0.1:9/", "events": ["complained"]})
        assert made.status_code == 201
        api.delete(f"/webhooks/{made.json()['id']}")
        assert api.post("/webhooks", json={"url": "http://169.254.169.254/"}).status_code == 422
    outward = Config.model_validate({"console": {"listen": "0.0.0.0:8081"}})
    assert Config().webhook_networks and not outward.webhook_networks


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """A DNS whose answers a test writes: each look-up takes one, and the last stays."""
    answers: dict[str, list[str]] = {}
    before = socket.getaddrinfo

    def look_up(host: Any, *more: Any, **keywords: Any) -> Any:
        host = host.decode() if isinstance(host, bytes) else str(host)
        if host in answers:
            host = answers[host].pop(0) if len(answers[host]) > 1 else answers[host][0]
        return [found for one in host.split() for found in before(one, *more, **keywords)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return answers


def test_a_name_that_leads_inside_by_now_is_not_asked(
    opened: Store, tmp_path: Path, receiver: Receiver, names: dict[str, list[str]]
) -> None:
    names["hook.example"] = ["127.0.0.1"]
    scene = WebhookScene(opened, tmp_path)
    url = receiver.url.replace("127.0.0.1", "hook.example") + "/rebound/ok"
    theirs = scene.hook(url, source=endpoints.DATABASE, events=["delivered"])
    ours = scene.hook(f"{url}/ours", source=endpoints.COMMAND, events=["delivered"])
    scene.happened("a@example.com")
    scene.tell(Config.model_validate({"upstream": [{"address": "127.0.0.1:9"}]}))
    [refused] = scene.log(theirs)
    assert refused.code == 0 and "127.0.0.1" in refused.error and "allow_networks" in refused.error
    assert not receiver.at("/rebound/ok")
    [taken] = scene.log(ours)
    assert (taken.code, taken.response) == (200, "thank you")


def test_what_is_connected_to_is_the_address_that_was_looked_at(
    opened: Store, tmp_path: Path, receiver: Receiver, names: dict[str, list[str]]
) -> None:
    names["twice.example"] = ["127.0.0.1", "127.0.0.2"]  # the receiver is at the first
    scene = WebhookScene(opened, tmp_path)
    hook = scene.hook(
        receiver.url.replace("127.0.0.1", "twice.example") + "/twice/ok",
        source=endpoints.DATABASE,
        events=["delivered"],
    )
    scene.happened("a@example.com")
    given = {"upstream": [{"address": "127.0.0.1:9"}], "webhooks": {"allow_networks": ["127.0.0.1"]}}
    scene.tell(Config.model_validate(given))
    [taken] = scene.log(hook)
    assert (taken.code, taken.response) == (200, "")
    assert names["twice.example"] == ["127.0.0.2"]  # one look-up, and no second one by what connects


def test_one_inside_address_spoils_a_name_that_has_public_ones_too(
    opened: Store, tmp_path: Path, receiver: Receiver, names: dict[str, list[str]]
) -> None:
    names["two.example"] = ["192.0.2.1 127.0.0.1"]  # the first is allowed
    scene = WebhookScene(opened, tmp_path)
    hook = scene.hook(
        receiver.url.replace("127.0.0.1", "two.example") + "/local/ok", source=endpoints.DATABASE, events=["delivered"]
    )
    scene.happened("a@example.com")
    given = {"upstream": [{"address": "127.0.0.1:9"}], "webhooks": {"allow_networks": ["192.0.2.0/24"]}}
    scene.tell(Config.model_validate(given))
    [refused] = scene.log(hook)
    assert refused.code == 0 and "no public address" in refused.error
