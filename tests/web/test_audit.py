"""The audit log: who changed what, through the console, the API and the command line.

Always: an entry has no secret, and it is there exactly when the change is.
"""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
import sqlalchemy as sa

from relay.store import retention
from relay.store.console import audit_log
from relay.store.console.audit_log import Actor, AuditedChange, AuditFilter, Door
from relay.store.database import console_tables
from relay.store.recipients import suppressions
from relay.store.views import personal_data
from tests.waypost_server import ROOT, Waypost
from tests.web.api_client import ApiClient
from tests.web.deferred import defer
from tests.web.scene import PASSWORD, Scene, csrf, no_fault_logged
from web.api.schemas import DoorName

Entry = dict[str, Any]  # Any: a row's values


@pytest.fixture(scope="module")
def api(scene: Scene) -> Iterator[ApiClient]:
    with ApiClient(scene, name="robot") as client:
        yield client


def entries(scene: Scene, **filters: Any) -> list[Entry]:  # Any: as AuditFilter has them
    page = scene.read(lambda connection: audit_log.list_entries(connection, AuditFilter(**filters), 500))
    return [dict(row) for row in page.items]


def newest(scene: Scene, count: int = 1) -> list[tuple[str, str, str, str, int]]:
    """Action, target, recipient, who, and how many, of the latest entries, the oldest of them first."""
    found = [(one["action"], one["target"], one["recipient"], one["by"], one["changed"]) for one in entries(scene)]
    return found[:count][::-1]


def change(browser: httpx.Client, path: str, **form: str) -> httpx.Response:
    return browser.post(path, data={"csrf": csrf(browser.get("/"))} | form)


def test_what_is_done_in_the_console_is_entered_with_who_did_it(scene: Scene, browser: httpx.Client) -> None:
    change(browser, "/suppressions", address="Stop@Example.com", stream="news")
    assert newest(scene) == [("suppression.add", "news", "stop@example.com", "ann", 1)]
    change(browser, "/suppressions", address="stop@example.com", stream="news")
    assert newest(scene) == [("suppression.add", "news", "stop@example.com", "ann", 0)]  # it was there already
    change(browser, "/suppressions/remove", address="stop@example.com", scope="stream", stream="news")
    assert newest(scene) == [("suppression.remove", "news", "stop@example.com", "ann", 1)]
    message = defer(scene, "one@example.com", "two@example.com")
    token = csrf(browser.get("/queue"))
    chosen = [f"{message}.0", f"{message}.1"]
    browser.post("/queue", data={"csrf": token, "do": "drop", "delivery": chosen})
    assert newest(scene, 2) == [
        ("queue.drop", f"{message}.0", "one@example.com", "ann", 1),
        ("queue.drop", f"{message}.1", "two@example.com", "ann", 1),
    ]
    change(browser, f"/messages/{message}", do="resend", recipient="one@example.com")
    assert newest(scene) == [("message.resend", message, "one@example.com", "ann", 1)]
    for path, form, told in (
        ("/settings/keys", {"name": "ci", "scopes": "read", "lifetime": ""}, ("api_key.create", "ci", 1)),
        ("/settings/keys", {"name": "ci", "scopes": "read", "lifetime": ""}, ("api_key.create", "ci", 0)),
        ("/settings/keys/revoke", {"name": "ci"}, ("api_key.revoke", "ci", 1)),
        (
            "/settings/accounts",
            {"name": "eve", "password": PASSWORD, "role": "viewer"},
            ("account.create", "eve", 1),
        ),
        ("/settings/accounts/role", {"name": "eve", "role": "operator"}, ("account.role", "eve", 1)),
        ("/settings/accounts/remove", {"name": "eve"}, ("account.remove", "eve", 1)),
    ):
        change(browser, path, **form)
        [(action, target, recipient, by, changed)] = newest(scene)
        assert (action, target, changed, recipient, by) == (*told, "", "ann")
    first = entries(scene)[0]
    assert (first["door"], first["origin"]) == (Door.CONSOLE, "127.0.0.1")
    assert datetime.now(UTC) - first["at"] < timedelta(minutes=5)


def test_a_sign_in_and_its_end_are_entered(scene: Scene) -> None:
    with scene.sign_in() as client:
        assert newest(scene) == [("session.start", "ann", "", "ann", 1)]
        change(client, "/logout")
        assert newest(scene) == [("session.end", "ann", "", "ann", 1)]


def test_what_the_api_writes_is_entered(scene: Scene, api: ApiClient) -> None:
    message = defer(scene, "api@example.com")
    api.ask("POST", f"/queue/{message}/hold")
    api.ask("POST", "/suppressions", 201, json={"address": "gone@example.com"})
    api.ask("PUT", "/consent/shy@example.com", json={"consent": False})
    pixel = api.ask("POST", "/pixels", 201, json={"name": "Offer"})["id"]
    assert newest(scene, 4) == [
        ("queue.hold", message, "api@example.com", "robot", 1),
        ("suppression.add", "", "gone@example.com", "robot", 1),
        ("consent.set", "", "shy@example.com", "robot", 1),
        ("pixel.create", pixel, "", "robot", 1),
    ]
    assert entries(scene)[0]["door"] == Door.API


def test_what_fails_leaves_no_entry(scene: Scene, browser: httpx.Client, api: ApiClient) -> None:
    before = len(entries(scene))
    assert api.ask("POST", "/webhooks/nothing/enable", 404)
    assert change(browser, "/webhooks/nothing", do="enable").status_code == 404
    assert change(browser, "/settings/keys", name="ci", scopes="all of them", lifetime="").status_code == 400
    assert len(entries(scene)) == before

    def fail(connection: sa.Connection) -> None:
        actor = Actor(Door.CONSOLE, "ann", "")
        audit_log.carry_out(connection, actor, AuditedChange("pixel.create"), lambda connection: None)
        raise ValueError("after the change")

    with pytest.raises(ValueError, match="after the change"):
        scene.write(fail)
    assert len(entries(scene)) == before


def test_entries_are_found_by_each_filter_and_paged(scene: Scene, api: ApiClient) -> None:
    now = datetime.now(UTC)

    def fill(connection: sa.Connection) -> None:
        for n in range(7):
            actor = Actor(Door.COMMAND_LINE if n % 2 else Door.API, f"filler{n % 3}", "host")
            what = AuditedChange(
                "key.rotate" if n < 2 else "person.erase", f"t{n}", "who@example.com" if n == 5 else ""
            )
            audit_log.add_entry(connection, actor, what, n)

    scene.write(fill)
    by_us = {"by": "filler0"}
    assert [one["target"] for one in api.items("/audit", **by_us)] == ["t6", "t3", "t0"]
    assert [one["target"] for one in api.items("/audit", **by_us, door="command_line")] == ["t3"]
    assert [one["target"] for one in api.items("/audit", action="key")] == ["t1", "t0"]
    assert [one["target"] for one in api.items("/audit", action="key.rotate")] == ["t1", "t0"]
    assert api.items("/audit", action="ke") == []
    assert [one["count"] for one in api.items("/audit", recipient="Who@example.com")] == [5]
    assert [one["result"] for one in api.items("/audit", target="t0")] == ["nothing"]
    assert api.items("/audit", to="2001-01-01") == [] and api.items("/audit", **{"from": "1d"}, target="t1")
    assert len(api.pages("/audit", limit=3)) == len(entries(scene))
    assert "there is no such parameter" in api.refusal("GET", "/audit", 400, params={"who": "ann"})
    with ApiClient(scene, "read", name="reader") as reader:
        assert "audit" in reader.refusal("GET", "/audit", 403)
    with ApiClient(scene, "audit", name="auditor") as auditor:
        assert auditor.items("/audit", target="t2")
    assert now < entries(scene, target="t6")[0]["at"]


def test_the_page_shows_entries_and_says_which_filter_it_did_not_understand(
    scene: Scene, browser: httpx.Client
) -> None:
    change(browser, "/suppressions", address="shown@example.com", stream="<script>")
    page = browser.get("/settings/audit").text
    assert "suppression: add" in page and "shown@example.com" in page and "127.0.0.1" in page
    assert "<script>" not in page.replace('<script type="module"', "")
    page = browser.get("/settings/audit?from=yesterday&door=window&before=x&by=ann").text
    assert "from: yesterday is no day" in page and "door: there is no window" in page and "before: must come" in page
    assert "shown@example.com" in page
    assert "Nothing matches" in browser.get("/settings/audit?by=nobody").text


def test_an_erased_address_is_in_no_entry_and_an_export_has_what_was_done(scene: Scene, browser: httpx.Client) -> None:
    change(browser, "/suppressions", address="leave@example.com")
    exported = scene.read(lambda connection: personal_data.export_address(connection, "leave@example.com"))
    assert [one["action"] for one in exported["audit"]] == ["suppression.add"]
    assert "ann" not in json.dumps(exported["audit"])  # that is about somebody else
    assert entries(scene, recipient="leave@example.com")
    scene.write(
        lambda connection: personal_data.erase_address_records(connection, "leave@example.com", keep_suppressions=False)
    )
    assert not entries(scene, recipient="leave@example.com")
    assert newest(scene)[0][:3] == ("suppression.add", "", "")


@pytest.mark.parametrize(("mode", "is_stored"), [("pseudonymous", True), ("aggregate", False)])
def test_an_address_is_entered_as_privacy_allows(tmp_path: Path, mode: str, is_stored: bool) -> None:
    with Scene(tmp_path, {"privacy": {"mode": mode}}) as scene, scene.sign_in() as client:
        change(client, "/suppressions", address="shy@example.com")
        assert scene.read(lambda connection: suppressions.list_suppressions(connection, 5))
        stored = newest(scene)[0][2]
        assert stored.startswith("~") if is_stored else stored == ""
        assert bool(entries(scene, recipient="shy@example.com")) is is_stored


def test_entries_end_with_their_time(scene: Scene) -> None:
    def age(connection: sa.Connection) -> None:
        table = console_tables.audit_entry
        audit_log.add_entry(connection, Actor(Door.API, "robot", ""), AuditedChange("pixel.remove"), 1)
        row = dict(connection.execute(sa.select(table).limit(1)).mappings().one())
        connection.execute(sa.insert(table), row | {"id": "0" * 20, "target": "old"})

    scene.write(age)
    assert entries(scene, target="old")
    drop = retention.drop_audit_entries
    assert scene.write(lambda connection: drop(connection, datetime.now(UTC) - timedelta(days=400))) == 1
    assert not entries(scene, target="old") and entries(scene)


def test_the_command_line_enters_what_it_changes_and_lists_it(tmp_path: Path) -> None:
    with Waypost(tmp_path) as relay:
        relay.cli("suppressions", "add", "ann@example.com", "--stream", "news")
        relay.cli("user", "add", "eve", "--role", "viewer", stdin=b"a long password\n")
        key = relay.cli("api-key", "create", "ci", "--scope", "read").decode().strip()
        relay.cli("keys", "rotate")
        relay.cli("queue", "retry", "--all")
        relay.cli("person", "erase", "bob@example.com", "--yes")
        hook = relay.rows("webhooks", "add", "http://ann:pass-5417@127.0.0.1:9/hook")[0]
        rows = relay.rows("audit")
        told = [(one["action"], one["target"], one["recipient"], one["result"]) for one in reversed(rows)]
        assert told == [
            ("suppression.add", "news", "ann@example.com", "done"),
            ("account.password", "eve", None, "done"),
            ("api_key.create", "ci", None, "done"),
            ("key.rotate", "2", None, "done"),
            ("queue.retry_all", None, None, "nothing"),
            ("person.erase", None, None, "done"),
            ("webhook.create", hook["id"], None, "done"),
        ]
        assert {one["door"] for one in rows} == {"command_line"} and all(one["by"] and one["origin"] for one in rows)
        text = json.dumps(rows)
        for secret in ("a long password", key, hook["secret"], "pass-5417", "bob@example.com"):
            assert secret not in text
        assert [one["target"] for one in relay.rows("audit", "--action", "api_key")] == ["ci"]
        assert [one["action"] for one in relay.rows("audit", "--recipient", "ann@example.com")] == ["suppression.add"]
        assert relay.rows("audit", "--door", "console") == [] and len(relay.rows("audit", "--limit", "2")) == 2


def test_nothing_is_changed_past_the_audit_log() -> None:
    """What may be written without an entry: uses and answers, which are no changes that somebody makes."""
    exempt = {
        "web/audited.py": 2,  # one change, and many messages, each with its entry
        "web/api/idempotency.py": 4,
        "web/api/authorization.py": 1,  # the use of a key
        "web/console/sign_in.py": 2,  # the first account, and the use of a session
        "web/console/queue_pages.py": 1,  # many changes, each with its entry
        "relay/cli/command.py": 1,
        "relay/cli/demo.py": 1,
        "relay/cli/reclassification.py": 1,  # in batches, with one entry at the end, and so are the next two
        "relay/cli/stats.py": 1,
        "relay/cli/person.py": 1,
        "relay/cli/webhooks.py": 1,  # what config.toml says
    }
    found = {}
    for folder in ("web/api", "web/console", "relay/cli", "web"):
        for path in (ROOT / folder).glob("*.py"):
            if count := len(re.findall(r"store\.write\(|writer\.submit\(", path.read_text("utf-8"))):
                found[str(path.relative_to(ROOT))] = count
    assert found == exempt


def test_what_is_too_long_for_an_entry_is_cut(scene: Scene) -> None:
    with no_fault_logged():
        long = "x" * 5000 + "\0"
        scene.write(
            lambda connection: audit_log.add_entry(
                connection, Actor(Door.API, long, long), AuditedChange("a.b", long), 1
            )
        )
    assert len(entries(scene)[0]["target"]) == 300


def test_the_api_has_a_name_for_each_door() -> None:
    assert set(get_args(DoorName)) == set(Door)
