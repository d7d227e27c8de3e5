"""Everything about one address: exported whole, and erased so that no file of the data directory has it any more."""

import base64
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.postgresql_server import IS_POSTGRESQL
from tests.store.disk_search import found_on_disk
from tests.upstream import ScriptedUpstream
from tests.user_agents import PHONE, PHONE_FIELDS
from tests.waypost_server import Waypost, html_mail, tracking_urls

ANN, BEN = "Ann.Lovelace@person.example", "ben@person.example"


@pytest.fixture(scope="module")
def lived(upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Waypost]:
    """A relay that knows much of Ann: mail to her alone and to two, opens, clicks, and what she wished."""
    tables = '[delivery]\nretry = ["1h"]\n[privacy]\nip = "full"\n'
    with Waypost(tmp_path_factory.mktemp("person"), upstream.port, tables) as relay:
        header = "X-Waypost-Stream: news\r\nX-Waypost-Meta-Who: ann.lovelace@person.example\r\n"
        page = f'<a href="https://shop.example/?me={ANN}">mine</a>'
        relay.send(html_mail(f"For {ANN}", header=header, extra=page), ANN, sender="b+ann.lovelace@sender.test")
        urls = tracking_urls(upstream.to(ANN)[0].octets)
        for url in (*urls["o"], *urls["c"]):
            relay.get(url, headers=PHONE_FIELDS)
        httpx.head(urls["o"][0], headers=PHONE_FIELDS)
        relay.send(html_mail("For both").replace(b"you@example.com", f"{ANN}, {BEN}".encode()), ANN, BEN)
        relay.get(tracking_urls(upstream.to(BEN)[0].octets)["o"][0], headers=PHONE_FIELDS)
        relay.events("opened", BEN)
        relay.events("clicked", ANN, count=2)
        httpx.post(urls["u"][0], data={"List-Unsubscribe": "One-Click"})
        httpx.post(urls["u"][0], data={"action": "dont-track"})
        yield relay


def test_the_export_has_everything_about_the_address_and_nothing_of_others(lived: Waypost) -> None:
    [told] = lived.rows("person", "export", ANN.lower(), "--content")
    assert told["address"] == ANN.lower()
    assert {message["subject"] for message in told["messages"]} == {f"For {ANN}", "For both"}
    assert {one["recipient"] for message in told["messages"] for one in message["deliveries"]} == {ANN}
    assert all(message["deliveries"][0]["attempts"] for message in told["messages"])
    contents = [base64.b64decode(message["content"]) for message in told["messages"]]
    assert any(b"<html>" in octets for octets in contents)
    kinds = [event["type"] for event in told["events"]]
    assert sorted(kinds) == ["clicked", "clicked", "delivered", "delivered", "opened", "unsubscribed"]
    assert {(event["ip"], event["user_agent"]) for event in told["events"] if event["type"] == "opened"} == {
        ("127.0.0.1", PHONE)
    }
    [sight] = [sight for message in told["messages"] for sight in message["sights"] if sight["what"] == "head"]
    assert (sight["ip"], sight["user_agent"]) == ("127.0.0.1", PHONE)
    assert [(row["reason"], row["stream"]) for row in told["suppressions"]] == [("unsubscribe", "news")]
    assert (told["consent"]["consent"], told["consent"]["source"]) == (False, "recipient")
    assert "content" not in lived.rows("person", "export", ANN)[0]["messages"][0]
    nobody = lived.rows("person", "export", "nobody@person.example")[0]
    assert (nobody["messages"], nobody["events"], nobody["suppressions"], nobody["consent"]) == ([], [], [], None)


def test_an_erased_address_is_in_no_file_and_still_gets_no_mail(lived: Waypost, upstream: ScriptedUpstream) -> None:
    assert b"--yes" in lived.cli("person", "erase", ANN, status=1)
    assert found_on_disk(lived, ANN)
    waits = "e451-4.3.0+ann.lovelace@person.example"  # another address, whose mail waits
    lived.send(html_mail("Later"), waits)
    bulk = html_mail("From herself", header="Precedence: bulk\r\n")  # so that no DSN comes to her
    lived.send(bulk, ANN, "e550-5.1.1+ben@person.example", sender=ANN)
    lived.events("delivered", ANN, count=3)
    said = "SELECT conversation FROM attempt WHERE conversation LIKE :what"
    assert lived.sql(said, what=f"%RCPT TO:<{waits}>%") and lived.sql(said, what=f"%MAIL FROM:<{ANN}>%RCPT TO:<e550%")
    [told] = lived.rows("person", "export", waits)
    assert told["messages"][0]["deliveries"][0]["attempts"][0]["conversation"]
    bad = lived.folder / "data" / "journal" / "x.bad"
    bad.parent.mkdir(exist_ok=True)
    bad.write_bytes(b'hit {"who":"' + ANN.encode() + b'"}\nhit {}\n')
    before = lived.rows("stats", "--last", "7d")

    for who in (waits, ANN):
        [done] = lived.rows("person", "erase", who, "--yes")
        assert done["deliveries"] and done["events"]
        assert done["given_up"] == (1 if who == waits else 0)
    assert done["journal_lines"] == 1 and bad.read_bytes() == b"hit {}\n"
    assert not [found for found in found_on_disk(lived, ANN) if found[0] != "x.bad"]
    assert not lived.rows("queue", "list")
    assert lived.rows("person", "export", ANN)[0]["messages"] == []

    # What names nobody stays: counts, and the mail of others.
    after = lived.rows("stats", "--last", "7d")
    assert [row["opens"] for row in after] == [row["opens"] for row in before]
    [shared] = [row for row in lived.rows("messages") if row["subject"] == "For both"]
    assert sorted(one["recipient"] or "" for one in shared["deliveries"]) == ["", BEN]
    assert [one["opens"]["human"] for one in shared["deliveries"] if one["recipient"]] == [1]
    assert lived.events("opened", BEN)[0]["ip"] == "127.0.0.1"
    opened = [row for row in lived.rows("events", "--limit", "100") if row["type"] == "clicked"]
    assert {(row["recipient"], row["ip"], row["user_agent"]) for row in opened} == {(None, None, None)}

    assert {str(row[0]) for row in lived.sql("SELECT observations FROM delivery WHERE recipient = ''")} == {"[]"}

    # She left, and she said not to track her: both still hold.
    count = len(upstream.to(ANN))
    lived.send(html_mail(header="X-Waypost-Stream: news\r\n"), ANN)
    lived.send(html_mail(header="X-Waypost-Stream: other\r\n"), ANN)
    [*_, last] = upstream.to(ANN, count=count + 1)
    assert len(upstream.to(ANN)) == count + 1 and tracking_urls(last.octets)["o"] == []


def test_an_erasure_can_take_the_suppressions_along(lived: Waypost) -> None:
    who = "again@person.example"
    lived.cli("suppressions", "add", who)
    [done] = lived.rows("person", "erase", who, "--yes", "--no-keep-suppression")
    assert done["suppressions"] == 1
    assert not lived.rows("suppressions", "list", who)


def test_an_erasure_waits_for_what_a_running_server_holds_in_its_journal(
    lived: Waypost, upstream: ScriptedUpstream
) -> None:
    who = "cordelia.w@person.example"
    with lived.locked():
        lived.send(html_mail(f"Dear {who}"), who)
        upstream.to(who)
        assert [name for name, _ in found_on_disk(lived, who) if name.endswith(".jsonl")]
    [done] = lived.rows("person", "erase", who, "--yes")
    assert done["deliveries"] == 1
    assert not found_on_disk(lived, who)


def test_an_erased_suppression_is_found_by_its_address_only(lived: Waypost) -> None:
    who = "kept@person.example"
    lived.cli("suppressions", "add", who)
    lived.cli("person", "erase", who, "--yes")
    [row] = lived.rows("suppressions", "list", who)
    assert row["address"].startswith("~") and row["reason"] == "manual"
    assert not lived.rows("suppressions", "list", "kept@person")
    if not IS_POSTGRESQL:
        assert lived.sql("PRAGMA auto_vacuum") == [(2,)]


def test_an_invalid_address_is_refused(tmp_path: Path) -> None:
    assert b"malformed" in Waypost(tmp_path).cli("person", "export", "ann", status=1)
