"""The whole walk: an app sends, a recipient opens, clicks and unsubscribes, and it is seen."""

import shutil
import subprocess
from email import message_from_bytes
from pathlib import Path

import httpx
import pytest

from tests.upstream import ScriptedUpstream
from tests.user_agents import PHONE_FIELDS
from tests.waypost_server import Waypost, html_mail, tracking_urls


def test_opens_clicks_and_unsubscribes_come_back(relay: Waypost, upstream: ScriptedUpstream) -> None:
    who = "journey@example.com"
    link = "https://shop.example/%7Ea?b=%20c&d[]={e}|f#g"
    relay.send(html_mail(link=link.replace("&", "&amp;"), header="X-Waypost-Stream: news\r\n"), who)
    [arrival] = upstream.to(who)
    assert b"X-Waypost" not in arrival.octets
    urls = tracking_urls(arrival.octets)
    [pixel], [click] = urls["o"], urls["c"]

    opened = relay.get(pixel, headers=PHONE_FIELDS)
    assert opened.status_code == 200 and opened.headers["content-type"] == "image/gif" and len(opened.content) > 30
    [event] = relay.events("opened", who)
    assert event["verdict"] == "human" and event["ip"] == "127.0.0.0" and "iPhone" in event["user_agent"]

    clicked = relay.get(click, headers=PHONE_FIELDS)
    assert clicked.status_code == 302 and clicked.headers["location"] == link
    [event] = relay.events("clicked", who)
    assert event["url"] == link

    mail = message_from_bytes(arrival.octets)
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    unsubscribe = mail["List-Unsubscribe"].strip().strip("<>")
    assert relay.get(unsubscribe).status_code == 200
    assert who not in [row["address"] for row in relay.rows("suppressions", "list")]
    done = httpx.post(unsubscribe, data={"List-Unsubscribe": "One-Click"})
    assert done.status_code == 200 and "set-cookie" not in done.headers
    assert relay.events("unsubscribed", who)

    # No further mail of that stream, and any other still comes.
    relay.send(html_mail(header="X-Waypost-Stream: news\r\n"), who)
    relay.send(html_mail(header="X-Waypost-Stream: other\r\n"), who)
    assert relay.events("suppressed", who)
    assert len(upstream.to(who, count=2)) == 2


def test_a_do_not_track_wish_holds_for_later_mail(relay: Waypost, upstream: ScriptedUpstream) -> None:
    who = "private@example.com"
    relay.send(html_mail(), who)
    urls = tracking_urls(upstream.to(who)[0].octets)
    assert httpx.post(urls["u"][0], data={"action": "dont-track"}).status_code == 200
    relay.get(urls["o"][0], headers=PHONE_FIELDS)
    relay.send(html_mail(), who)
    later = upstream.to(who, count=2)[1].octets
    assert tracking_urls(later)["o"] == tracking_urls(later)["c"] == [] and tracking_urls(later)["u"]
    assert b'href="https://shop.example/a?b=1"' in later
    assert not [row for row in relay.rows("events") if row["type"] == "opened" and row["recipient"] == who]


@pytest.mark.skipif(not shutil.which("swaks"), reason="needs swaks: apt-get install swaks")
def test_swaks_sends_and_the_mail_is_in_the_sandbox(sandbox: Waypost) -> None:
    done = subprocess.run(
        ["swaks", "--server", f"127.0.0.1:{sandbox.port}", "--to", "swaks@example.com", "--from", "a@sender.test",
         "--header", "Subject: by swaks", "--add-header", "MIME-Version: 1.0",
         "--add-header", "Content-Type: text/html", "--body", '<a href="https://x.example/">x</a>'],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    [row] = sandbox.rows("messages", "--query", "swaks@example.com")
    assert row["subject"] == "by swaks" and [one["status"] for one in row["deliveries"]] == ["delivered"]


def test_the_sandbox_plays_bounces(sandbox: Waypost) -> None:
    assert sandbox.send(html_mail(), "bounce@sandbox.test").startswith("550 5.1.1")
    assert sandbox.send(html_mail(), "full+1@sandbox.test").startswith("552 5.2.2")
    assert sandbox.send(html_mail(), "blocked@sandbox.test").startswith("554 5.7.1")
    assert sandbox.send(html_mail(), "later@sandbox.test").startswith("250")
    assert sandbox.events("deferred", "later@sandbox.test")


def test_the_command_line_reads_what_the_mail_carries(relay: Waypost, upstream: ScriptedUpstream) -> None:
    relay.send(html_mail(), "token@example.com")
    urls = tracking_urls(upstream.to("token@example.com")[0].octets)
    [click, pixel] = relay.rows("token", "read", urls["c"][0], urls["o"][0])
    assert click["kind"] == "click" and click["url"] == "https://shop.example/a?b=1"
    assert pixel["kind"] == "open" and pixel["message"] == click["message"]
    assert b"not a token" in relay.cli("token", "read", urls["c"][0][:-2] + "AA", status=1)
    relay.cli("keys", "rotate")
    assert relay.get(urls["c"][0]).status_code == 302
    assert len(relay.cli("keys", "list").splitlines()) >= 2


def test_the_demo_shows_everything(tmp_path: Path) -> None:
    shown = Waypost(tmp_path).cli("demo", "--once").decode()
    for word in ("sent", "open", "click", "unsubscribe", "550 5.1.1", "demo ready console=http://127.0.0.1:"):
        assert word in shown
    assert "302 https://door.example/help" in shown


def test_the_demo_says_so_where_a_server_runs_already(relay: Waypost) -> None:
    said = relay.cli("demo", "--once", status=1).decode()
    assert f"something listens on 127.0.0.1:{relay.port} already: stop the server" in said


def test_classify_speaks_json_lines(relay: Waypost) -> None:
    [verdict] = relay.rows("classify", "550 5.1.1 <a@b.example>: Recipient address rejected: User unknown")
    assert (verdict["kind"], verdict["category"], verdict["suppress"], verdict["retry"], verdict["status"]) == (
        "hard", "user_unknown", True, False, "5.1.1",
    )  # fmt: skip
    lines = b"452 4.2.2 mailbox full\nauth\t535 5.7.8 bad credentials\nwhat?\n"
    out = relay.cli("classify", "--lines", stdin=lines).splitlines()
    assert len(out) == 3 and b"mailbox_full" in out[0] and b"upstream_auth" in out[1] and b"undetermined" in out[2]
