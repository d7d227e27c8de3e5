"""Messages in the console: search, export, one message with what can be done, and the strip of what needs somebody.

Always: what came in mail is shown as text, and a spreadsheet computes none of it.
"""

import csv
import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from relay.store import upstream_states
from relay.store.console import api_keys
from relay.store.database import tables
from relay.store.database.tables import Status
from relay.store.queue.queue_facts import AttemptRecord
from relay.store.recipients import suppressions
from relay.store.upstream_states import ReportedState
from relay.store.views import personal_data
from tests.web.deferred import defer
from tests.web.scene import Scene, csrf

NO_SUCH_USER = AttemptRecord("primary", "rcpt", 550, "5.1.1", "no such user here", 10)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    tables: dict[str, Any] = {"upstream": [{"name": "primary", "address": "127.0.0.1:1", "tls": "off"}]}
    with Scene(tmp_path_factory.mktemp("messages"), tables) as running:
        yield running


def act(browser: httpx.Client, message: str, **form: str) -> httpx.Response:
    token = csrf(browser.get(f"/messages/{message}"))
    answer = browser.post(f"/messages/{message}", data={"csrf": token} | form)
    assert answer.status_code == 303
    return browser.get(answer.headers["location"])


def test_a_row_tells_the_fate_of_the_recipient_that_is_searched_for(scene: Scene, browser: httpx.Client) -> None:
    message = scene.file("ann@fate.example", "bob@fate.example", subject="To two people")
    bounced = sa.update(tables.delivery).where(tables.delivery.c.message == message, tables.delivery.c.number == 1)
    values = {"status": Status.BOUNCED, "category": "user_unknown"}
    scene.write(lambda connection: connection.execute(bounced.values(**values)).rowcount)
    row = browser.get("/messages?q=bob@fate.example").text
    assert "bob@<wbr>fate.example" in row and "ann@<wbr>fate" not in row
    assert "is-bounced" in row and "user unknown" in row and "1 delivered" not in row
    assert "is-delivered" in browser.get("/messages?q=to:ann@fate").text


def test_the_box_has_operators_and_says_what_it_cannot_read(scene: Scene, browser: httpx.Client) -> None:
    scene.file("op@example.com", subject="With a tag", tags=["welcome"])
    assert "With a tag" in browser.get("/messages?q=tag:welcome").text
    assert "With a tag" not in browser.get("/messages?q=tag:other").text
    link = re.search(r'class="tag" href="([^"]+)">welcome<', browser.get("/messages?q=subject:tag").text)
    assert link and "With a tag" in browser.get(link[1].replace("&amp;", "&")).text
    fault = browser.get("/messages?q=status:nosuch").text
    assert "there is no status" in fault and "as plain text" in fault


def test_messages_are_found_by_day(scene: Scene, browser: httpx.Client) -> None:
    scene.file("day@example.com", subject="Of this very day")
    today, yesterday = (datetime.now(UTC) - timedelta(days=n) for n in (0, 1))
    tomorrow = today + timedelta(days=1)
    assert "Of this very day" in browser.get(f"/messages?from={yesterday:%F}&to={tomorrow:%F}").text
    assert "Of this very day" not in browser.get(f"/messages?to={yesterday - timedelta(days=1):%F}").text
    assert browser.get("/messages?from=0001-01-01&to=nonsense").status_code == 200


def test_what_a_search_finds_can_be_had_as_csv_and_json(scene: Scene, browser: httpx.Client) -> None:
    scene.file("x1@export.example", "x2@export.example", subject="=HYPERLINK(1)", tags=["export"])
    answer = browser.get("/messages.csv?q=tag:export")
    assert 'filename="messages.csv"' in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["recipient"] for row in rows] == ["x1@export.example", "x2@export.example"]
    assert rows[0]["subject"] == "'=HYPERLINK(1)" and rows[0]["code"] == "250"
    [found] = browser.get("/messages.json?q=tag:export").json()
    assert found["subject"] == "=HYPERLINK(1)" and len(found["deliveries"]) == 2
    assert browser.get("/messages.json?q=tag:nosuch").json() == []


def test_a_suppressed_recipient_shows_why_and_can_be_allowed_again(scene: Scene, browser: httpx.Client) -> None:
    who, now = "gone@why.example", datetime.now(UTC)
    cause = scene.file(who, status=Status.BOUNCED, attempt=NO_SUCH_USER)
    scene.write(
        lambda connection: suppressions.add_suppression(
            connection, who, reason="hard_bounce", at=now, evidence="550 5.1.1 no such user here", message=cause
        )
    )
    message = scene.file(who, status=Status.SUPPRESSED, outcome={"category": "suppressed"})
    page = browser.get(f"/messages/{message}").text
    assert "550 5.1.1 no such user here" in page and f'href="/messages/{cause}"' in page
    allow = re.search(r'href="(/suppressions/remove\?[^"]+)"', page)
    assert allow
    question = browser.get(allow[1].replace("&amp;", "&"))
    form = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', question.text))
    answer = browser.post("/suppressions/remove", data=form)
    assert answer.headers["location"] == f"/messages/{message}"
    assert "may get mail again" in browser.get(f"/messages/{message}").text
    assert not scene.read(lambda connection: suppressions.find_suppressed(connection, [who], "news", now))


def test_a_state_says_what_it_means_and_what_to_do(scene: Scene, browser: httpx.Client) -> None:
    outcome = {"kind": "hard", "category": "user_unknown"}
    message = scene.file("nobody@example.com", status=Status.BOUNCED, attempt=NO_SUCH_USER, outcome=outcome)
    page = browser.get(f"/messages/{message}").text
    assert "refused for good" in page and "take the address off your lists" in page
    assert page.index("<h2>Timeline") < page.index("<h2>Links")  # on a phone the one stands before the other


def test_a_waiting_message_is_held_retried_and_dropped_on_its_page(scene: Scene, browser: httpx.Client) -> None:
    message = defer(scene, "act@example.com")
    one = f"{message}.0"
    assert "held back" in re.sub(r"holds it back", "held back", act(browser, message, do="hold", delivery=one).text)
    assert "attempted now" in act(browser, message, do="retry", delivery=one).text
    dropped = act(browser, message, do="drop", delivery=one).text
    assert "An operator took it out of the queue" in dropped
    assert scene.delivery(message)["status"] == Status.EXPIRED


def test_a_message_is_sent_again_as_a_new_one(scene: Scene, browser: httpx.Client) -> None:
    message = scene.file("again@example.com", "other@example.com", subject="Once more")
    answer = act(browser, message, do="resend", recipient="again@example.com")
    assert "sent again to again@example.com" in answer.text and str(answer.url).rpartition("/")[2] != message
    new = str(answer.url).rpartition("/")[2]
    assert scene.delivery(new)["status"] == Status.QUEUED
    without = scene.file("no@example.com", octets=None)
    assert "not kept any more" in act(browser, without, do="resend").text


def test_every_page_says_what_needs_somebody(scene: Scene, browser: httpx.Client) -> None:
    now = datetime.now(UTC)
    down = ReportedState("primary", now - timedelta(minutes=12), "connection refused", 0, 0, 1)
    scene.write(lambda connection: upstream_states.report_states(connection, "w", [down], now))
    scene.write(lambda connection: api_keys.create_key(connection, "old", now, ["read"], now + timedelta(days=2)))
    refresh(browser)
    for path in ("/", "/messages", "/queue", "/settings", "/mailbox", "/webhooks"):
        page = browser.get(path).text
        assert "Upstream primary is out" in page and "connection refused" in page, path
        assert "API key old ends within 2 days" in page, path
    up = ReportedState("primary", None, "", 0, 1, 0)
    scene.write(lambda connection: upstream_states.report_states(connection, "w", [up], now))
    refresh(browser)
    assert "is out" not in browser.get("/").text
    with httpx.Client(base_url=scene.console) as stranger:
        assert "API key" not in stranger.get("/login").text


def refresh(browser: httpx.Client) -> None:
    """A change through the console has its pages look again at once."""
    browser.post("/queue", data={"csrf": csrf(browser.get("/settings")), "do": "drop"})


def test_a_recipient_among_many_is_found_and_shown_alone(scene: Scene, browser: httpx.Client) -> None:
    message = scene.file(*(f"many{n}@example.com" for n in range(40)), subject="To many")
    listed = browser.get("/messages?q=many37@example.com").text
    assert f'href="/messages/{message}?recipient=many37%40example.com"' in listed
    page = browser.get(f"/messages/{message}?recipient=many37@example.com").text
    assert "40 recipients" in page and page.count("<article") == 1 and "many36@" not in page
    assert page.count("Delivered") == 1  # in the timeline, too
    assert browser.get(f"/messages/{message}?recipient=many3").text.count("<article") == 11
    nobody = browser.get(f"/messages/{message}?recipient=nobody@example.com").text
    assert "None of them has" in nobody and nobody.count("<article") == 40
    assert "40 delivered" in nobody
    assert browser.get(f"/messages/{message}?recipient=%00%22%3E").status_code == 200


def test_of_many_recipients_those_that_did_not_get_it_come_first(scene: Scene, browser: httpx.Client) -> None:
    many = 620  # more than a page shows, and than the API does
    names = [f"crowd{n}@example.com" for n in range(many)]
    message = scene.file(*names, subject="To a crowd")
    refused = tables.delivery.c.number == many - 1
    scene.write(
        lambda connection: connection.execute(
            sa.update(tables.delivery)
            .where(tables.delivery.c.message == message, refused)
            .values(status=Status.BOUNCED, kind="hard", category="user_unknown")
        )
    )
    page = browser.get(f"/messages/{message}").text
    shown = re.findall(r'<article class="delivery">\s*<header><span class="address">([^<]*)', page)
    assert shown == [names[-1], *names[:49]] and "50 of 620 are shown, those that did not get it first" in page
    assert "1 bounced" in page and "619 delivered" in page and page.count('class="event is-') == 51
    bounced = browser.get(f"/messages/{message}?status=bounced").text
    assert bounced.count("<article") == 1 and "1 of 620 are shown." in bounced
    assert browser.get(f"/messages/{message}?status=lost").text.count("<article") == 50
    told = scene.read(lambda connection: personal_data.export_address(connection, names[-1]))
    assert [one["recipient"] for one in told["messages"][0]["deliveries"]] == [names[-1]]
