"""Queue, bounces, links and settings, as an operator's browser uses them.

Always: what came in mail is shown as text; a secret is shown to nobody.
"""

import html
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from relay.event_type import EventType
from relay.store import upstream_states
from relay.store.console import api_keys
from relay.store.database.tables import Status
from relay.store.queue.queue_facts import AttemptRecord
from relay.store.upstream_states import ReportedState
from tests.web.deferred import defer
from tests.web.scene import Scene, csrf

EVIL = "<script>alert('x')</script>\"'&<b>"
UPSTREAM_PASSWORD = "a-password-of-the-upstream"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    given: dict[str, Any] = {"name": "primary", "address": "127.0.0.1:1", "tls": "off"}  # Any: as TOML has it
    given |= {"username": "app", "password": UPSTREAM_PASSWORD}
    tables: dict[str, Any] = {"upstream": [given]}
    with Scene(tmp_path_factory.mktemp("pages"), tables) as running:
        yield running


def change(browser: httpx.Client, path: str, **form: str) -> str:
    token = csrf(browser.get("/settings"))
    answer = browser.post(path, data={"csrf": token} | form)
    assert answer.status_code == 303
    return browser.get(answer.headers["location"]).text


def test_the_queue_tells_what_waits_for_which_upstream_and_why(scene: Scene, browser: httpx.Client) -> None:
    defer(scene, "waits@example.com", text=f"mailbox busy {EVIL}")
    down = ReportedState("primary", datetime.now(UTC) - timedelta(minutes=12), "connection refused", 0, 0, 1)
    scene.write(lambda connection: upstream_states.report_states(connection, "w", [down], datetime.now(UTC)))
    page = browser.get("/queue")
    assert page.status_code == 200
    assert "waits@example.com" in page.text and EVIL not in page.text
    assert page.text.count("451 4.7.1 mailbox busy") == 2  # of the upstream, and of the delivery
    assert re.search(r">primary</a>.*?>out</span>.*?12 min ago", page.text, re.DOTALL)
    assert "No delivery like that waits" in browser.get("/queue?recipient=nobody@example.com").text


def test_deliveries_are_retried_held_released_and_dropped_from_the_queue(scene: Scene, browser: httpx.Client) -> None:
    message = defer(scene, "chosen@example.com")
    one = f"{message}.0"
    assert "held: not attempted" in change(browser, "/queue", do="hold", delivery=one)
    assert scene.delivery(message)["held_at"] is not None
    assert "chosen@example.com" in browser.get("/queue?state=held").text
    assert "released" in change(browser, "/queue", do="release", delivery=one)
    assert scene.delivery(message)["held_at"] is None
    later = datetime.now(UTC) + timedelta(minutes=30)
    assert scene.delivery(defer(scene, "other@example.com"))["next_attempt_at"] > later
    assert "attempted now" in change(browser, "/queue", do="retry", delivery=one)
    assert scene.delivery(message)["next_attempt_at"] <= datetime.now(UTC)
    assert "dropped" in change(browser, "/queue", do="drop", delivery=one)
    assert scene.delivery(message)["status"] == Status.EXPIRED
    assert "Nothing was changed" in change(browser, "/queue", do="drop", delivery=one)
    assert "Nothing was chosen" in change(browser, "/queue", do="drop")


def test_all_that_waits_is_attempted_at_once(scene: Scene, browser: httpx.Client) -> None:
    message = defer(scene, "all@example.com")
    assert "attempted now" in change(browser, "/queue", do="retry-all")
    assert scene.delivery(message)["next_attempt_at"] <= datetime.now(UTC)


@pytest.mark.parametrize("form", [{"do": "explode", "delivery": "0" * 20}, {"do": "drop", "delivery": "no id"}])
def test_a_forged_action_on_the_queue_changes_nothing(browser: httpx.Client, form: dict[str, str]) -> None:
    assert browser.post("/queue", data={"csrf": csrf(browser.get("/queue"))} | form).status_code == 400
    assert browser.post("/queue", data=form).status_code == 403


def test_bounces_are_listed_by_reason_with_advice_and_the_literal_reply(scene: Scene, browser: httpx.Client) -> None:
    reply = AttemptRecord("primary", "rcpt", 550, "5.1.1", f"no such user {EVIL}", 10)
    hard = {"kind": "hard", "category": "user_unknown"}
    message = scene.file("gone@big.example", status=Status.BOUNCED, attempt=reply, outcome=hard)
    page = browser.get("/bounces").text
    assert "User unknown" in page and "take the address off your lists" in page
    assert "big.example" in page and "no such user" in page and EVIL not in page
    assert f'href="/messages/{message}"' in page
    assert "no such user" in browser.get("/bounces?stream=news").text
    assert "Nothing bounced" in browser.get("/bounces?stream=nosuch&span=1d").text


def test_a_message_shows_what_was_said_on_both_legs(scene: Scene, browser: httpx.Client) -> None:
    lines = f"0 * connecting to 127.0.0.1:1\n31 < 220 mx {EVIL}\n1040 > RCPT TO:<no@example.com>\n1055 < 550 5.1.1 no"
    failed = AttemptRecord("primary", "rcpt", 550, "5.1.1", "no", 1060, conversation=lines)
    plan = r'{"drafts":[[0,0,["Received: from app.test ([192.0.2.7])\r\n\tby relay"],"above"]]}'
    kept: dict[str, Any] = {"plan": plan, "client": "192.0.2.7 billing ESMTPSA", "reverse_path": "app@sender.test"}
    message = scene.file("no@example.com", status=Status.BOUNCED, attempt=failed, **kept)
    page = browser.get(f"/messages/{message}").text
    assert EVIL not in page and "sandbox" not in page
    upstream, client = (
        conversation_in(found) for found in re.findall(r'<ol class="conversation">.*?</ol>', page, re.S)
    )
    assert (
        upstream[0] == "0 ms · connecting to 127.0.0.1:1" and upstream[2] == "1,040 ms → sent: RCPT TO:<no@example.com>"
    )
    assert upstream[3] == "1,055 ms ← received: 550 5.1.1 no" and "As it was said" in page
    assert client[:5] == [
        "· from 192.0.2.7",
        "→ sent: EHLO app.test",
        "· with TLS",
        "· signed in as billing",
        "→ sent: MAIL FROM:<app@sender.test>",
    ]
    assert client[-1].endswith("← received: 550 5.1.1 no (the upstream’s, passed on)")


def test_a_delivered_message_has_a_conversation_from_what_is_kept(scene: Scene, browser: httpx.Client) -> None:
    kept: dict[str, Any] = {"client": "192.0.2.7 ESMTP", "reverse_path": "app@sender.test"}
    page = browser.get(f"/messages/{scene.file('yes@example.com', octets=b'x' * 12_345, **kept)}").text
    upstream, client = (
        conversation_in(found) for found in re.findall(r'<ol class="conversation">.*?</ol>', page, re.S)
    )
    assert upstream == [
        "· to 127.0.0.1:1 without TLS, as it is configured now",
        "→ sent: MAIL FROM:<app@sender.test>",
        "→ sent: RCPT TO:<yes@example.com>",
        "→ sent: DATA",
        "→ sent: [the mail, from 12,345 octets, and the dot]",
        "120 ms ← received: 250 2.0.0 queued as 1A2B",
    ]
    assert "→ sent: EHLO …" in client and "· without TLS" in client and "As it was said" not in page
    resent = scene.file("again@example.com", client="resent 06h1 by ann")
    assert "Conversation with the client" not in browser.get(f"/messages/{resent}").text


def conversation_in(markup: str) -> list[str]:
    """The lines of a conversation, as text."""
    rows = re.findall(r"<li.*?</li>", markup, re.DOTALL)
    return [" ".join(html.unescape(re.sub(r"<[^>]+>", " ", row)).split()) for row in rows]


def test_links_are_listed_by_the_clicks_of_people(scene: Scene, browser: httpx.Client) -> None:
    message = scene.file("clicks@example.com")
    for url, verdict in (("https://a.example/x", "human"), ("https://b.example/", "machine")):
        scene.hit(message, EventType.CLICKED, verdict, url=url, link=1)
    scene.hit(message, EventType.CLICKED, "human", url=f"https://c.example/{EVIL}", link=1)
    page = browser.get("/links").text
    assert page.index("https://a.example/x") < page.index("https://b.example/")
    assert EVIL not in page
    assert "No clicks" in browser.get("/links?tag=nosuch").text


def test_settings_say_what_is_configured_from_where_and_no_secret(scene: Scene, browser: httpx.Client) -> None:
    page = browser.get("/settings").text
    assert UPSTREAM_PASSWORD not in page and "set, not shown" in page
    rows = dict(re.findall(r"<dt>(\w+)</dt><dd>([^<]*) <small>\w+</small>", page))
    assert rows["address"].strip() == "127.0.0.1:1"
    assert re.search(r"<dt>expire_after</dt><dd>5d <small>default</small>", page)
    assert re.search(r"<dt>max_in_flight</dt><dd>256MB <small>default</small>", page)
    assert re.search(r"<dt>ca_file</dt><dd>– <small>default</small>", page)


def test_a_key_is_made_shown_once_and_revoked(scene: Scene, browser: httpx.Client) -> None:
    token = csrf(browser.get("/settings"))
    made = browser.post("/settings/keys", data={"csrf": token, "name": "ci", "scopes": "read", "lifetime": "30d"})
    assert made.status_code == 201
    found = re.search(r"wp_[\w-]+", made.text)
    assert found
    key = found[0]
    assert key not in browser.get("/settings").text
    headers = {"authorization": f"Bearer {key}"}
    assert httpx.get(f"{scene.console}/api/v1/messages", headers=headers).status_code == 200
    grant = scene.read(lambda connection: api_keys.find_key(connection, key))
    assert grant and grant.scopes == {"read"} and grant.expires_at
    assert "already" in change(browser, "/settings/keys", name="ci", lifetime="")
    assert "revoked" in change(browser, "/settings/keys/revoke", name="ci")
    assert httpx.get(f"{scene.console}/api/v1/messages", headers=headers).status_code == 401


def test_signing_out_everywhere_ends_every_browser_of_the_account(tmp_path: Path) -> None:
    with Scene(tmp_path) as own, own.sign_in() as one, own.sign_in() as other:
        token = csrf(one.get("/sessions"))
        assert one.post("/sessions", data={"csrf": token, "do": "everywhere"}).headers["location"] == "/login"
        assert one.get("/").status_code == other.get("/").status_code == 303


def test_nobody_removes_the_account_that_they_use(browser: httpx.Client) -> None:
    assert "cannot remove" in change(browser, "/settings/accounts/remove", name="ann")
    assert "gone already" in change(browser, "/settings/accounts/remove", name="nobody")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/?span=5y", ["span: there is no 5y; one of 24h, 7d"]),
        ("/?from=2026-02-30", ["from: 2026-02-30 is no day"]),
        ("/?from=2020-01-01&to=2026-01-01", ["from: there may be at most 400 days"]),
        ("/?to=2026-01-01", ["to: needs a from"]),
        (
            "/messages?status=lost&from=soon&before=x&state=bounced",
            [
                "status: there is no lost; one of queued",
                "from: soon is no day",
                "before: must come",
                "state: there is no such filter",
            ],
        ),
        ("/messages?from=2026-02-02&to=2026-02-01", ["from: must not be after to"]),
        ("/links?span=5y&from=x", ["span: there is no 5y; one of 1d", "from: must come from the link"]),
        (
            "/bounces?span=5y&tag=a",
            ["span: there is no 5y", "tag: there is no such filter here; there are span, stream"],
        ),
        ("/refused?before=x", ["before: must come from the link"]),
        ("/settings/audit?door=window&to=never", ["door: there is no window; one of", "to: never is no day"]),
        ("/queue?state=asleep&after=x", ["state: there is no asleep", "after: must come from the link"]),
        ("/suppressions?reason=whim&before=x", ["reason: there is no whim; one of hard_bounce", "before: must come"]),
        ("/mailbox?before=x", ["before: must come from the link"]),
    ],
)
def test_a_filter_that_is_not_understood_is_said(browser: httpx.Client, path: str, expected: list[str]) -> None:
    page = browser.get(path)
    assert page.status_code == 200
    for text in expected:
        assert text in page.text
    assert "Not understood" not in browser.get(path.partition("?")[0]).text


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/messages.csv?status=lost", "not understood: status: there is no lost"),
        ("/messages.json?from=soon", "not understood: from: soon is no day"),
        ("/suppressions.csv?reason=whim", "not understood: reason: there is no whim"),
    ],
)
def test_no_file_is_made_of_a_filter_that_is_not_understood(browser: httpx.Client, path: str, expected: str) -> None:
    answer = browser.get(path)
    assert answer.status_code == 400 and expected in answer.text
    assert browser.get(path.partition("?")[0]).status_code == 200
