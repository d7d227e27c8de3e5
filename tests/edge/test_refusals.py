"""What is refused at SMTP is found by its envelope, within a budget: nobody fills the disk by being refused."""

import contextlib
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from relay.edge.refusal_log import MAX_CONNECTIONS_A_MINUTE, RefusalLog
from relay.envelope import Client
from relay.reply import Reply
from relay.store import refusals
from relay.store.refusals import Refusal
from tests.upstream import ScriptedUpstream
from tests.waypost_server import Waypost
from tests.web.api_client import ApiClient
from tests.web.scene import Scene

EVIL = "<script>alert('x')</script>"


@pytest.fixture(scope="module")
def strict(upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Waypost]:
    """A relay that takes small mail to one recipient."""
    limits = '[access]\nmax_size = "10KB"\nmax_recipients = 1\nmax_connections_per_ip = 4\n'
    with Waypost(tmp_path_factory.mktemp("strict"), upstream.port, limits) as running:
        yield running


def test_refused_mail_is_found_by_recipient_sender_and_reply(strict: Waypost) -> None:
    with strict.client() as client:
        client.ehlo()
        assert client.mail("big@shop.test", ["SIZE=20000"])[0] == 552
        assert client.mail("app@shop.test")[0] == 250
        assert client.rcpt("first@shop.test")[0] == 250
        assert client.rcpt("Second@shop.test")[0] == 452
    words = ("refusals", "--recipient", "second@shop.test")
    (found,) = strict.wait_for_rows(*words, fits=lambda rows: rows)
    assert (found["from"], found["recipient"], found["command"]) == ("app@shop.test", "Second@shop.test", "RCPT")
    assert (found["code"], found["status"], found["count"]) == (452, "4.5.3", 1) and "too many" in found["text"]
    assert found["ip"] == "127.0.0.1" and found["user"] is None
    assert [row["from"] for row in strict.rows("refusals", "--code", "552")] == ["big@shop.test"]
    assert [row["code"] for row in strict.rows("refusals", "--sender", "BIG@shop.test")] == [552]
    assert len(strict.rows("refusals", "--query", "shop.test", "--since", "1h")) == 2
    assert strict.rows("refusals", "--query", "nobody.test") == []


def test_of_many_in_a_minute_the_rest_is_counted(strict: Waypost) -> None:
    with strict.client() as client:
        client.ehlo()
        client.mail("many@shop.test")
        client.rcpt("first@shop.test")
        for n in range(150):
            client.rcpt(f"r{n}@many.test")

    def total(rows: list[dict[str, object]]) -> int:
        return sum(int(str(row["count"])) for row in rows)

    words = ("refusals", "--code", "452", "--limit", "500")
    before = 1  # of the test above
    found = strict.wait_for_rows(*words, fits=lambda rows: total(rows) >= 150)
    assert total(found) in (150, 150 + before)
    kept = [row for row in found if row["recipient"]]
    assert 40 <= len(kept) <= 125  # sixty a minute, and a minute may have begun meanwhile
    (counted, *_) = (row for row in found if not row["recipient"])
    assert counted["from"] is None and counted["ip"] is None and "too many" in str(counted["text"])


def test_connections_that_were_refused_or_failed_are_found(strict: Waypost) -> None:
    with contextlib.ExitStack() as clients:
        for _ in range(4):
            client = clients.enter_context(socket.create_connection(("127.0.0.1", strict.port), 60))
            assert client.recv(100).startswith(b"220")
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", strict.port), 60) as client:
                assert client.recv(100).startswith(b"421 4.7.0")
    with strict.client() as smtp:
        assert smtp.docmd("EHLO")[0] == 501
    with socket.create_connection(("127.0.0.1", strict.port), 60) as client:
        client.recv(100)
        client.sendall(b"\x16\x03\x01\x02\x00\r\n")
        assert client.recv(100) == b""

    def seen(rows: list[dict[str, object]]) -> dict[str, int]:
        found: dict[str, int] = {}
        for row in rows:
            if row["command"] in ("CONNECT", "EHLO", "TLS"):
                found[str(row["command"])] = found.get(str(row["command"]), 0) + int(str(row["count"]))
        return found

    wanted = {"CONNECT": 3, "EHLO": 1, "TLS": 1}
    found = strict.wait_for_rows("refusals", "--query", "127.0.0.1", fits=lambda rows: seen(rows) == wanted)
    (failed,) = (row for row in found if row["command"] == "TLS")
    assert failed["code"] == 0 and "begins in clear" in str(failed["text"])


def test_a_flood_of_connections_is_some_rows_and_a_count() -> None:
    log = RefusalLog(lambda: datetime(2026, 11, 28, tzinfo=UTC))
    reply = Reply(421, "4.7.0", "too many connections")
    for n in range(1000):
        log.add_connection(Client(ip=f"192.0.2.{n % 100}"), "CONNECT", reply)
    taken = log.take()
    assert len(taken) == MAX_CONNECTIONS_A_MINUTE + 1 and sum(one.times for one in taken) == 1000
    assert [one.times for one in taken if one.ip] == [10] * MAX_CONNECTIONS_A_MINUTE
    log.add_connection(Client(ip="192.0.2.1"), "CONNECT", reply)
    assert [(one.ip, one.times) for one in log.take()] == [("", 1)], "it is the same minute"


@pytest.fixture
def some() -> list[Refusal]:
    now, early = datetime.now(UTC), datetime.now(UTC) - timedelta(days=40)
    reply = (553, "5.7.1", f"not as {EVIL}")
    return [
        Refusal(early, "192.0.2.1", "", "MAIL", "old@shop.test", "", *reply),
        Refusal(now, "192.0.2.9", "shop", "RCPT", f"a{EVIL}@shop.test", "ann@example.com", *reply),
        Refusal(now, "", "", "RCPT", "", "", *reply, times=7),
    ]


def test_console_and_api_show_them_as_text(tmp_path: Path, some: list[Refusal]) -> None:
    with Scene(tmp_path) as scene, scene.sign_in() as browser, ApiClient(scene) as api:
        failed = Refusal(datetime.now(UTC), "198.51.100.7", "", "TLS", "", "", 0, "", f"no TLS: {EVIL}", times=3)
        scene.write(lambda connection: refusals.insert_refusals(connection, [*some, failed]))
        page = browser.get("/refused").text
        assert "ann@example.com" in page and "553 5.7.1" in page and EVIL not in page
        assert "7 more like that, only counted" in page and "3 connections" in page and "no reply" in page
        assert "192.0.2.9" not in browser.get("/refused?q=192.0.2.1").text
        assert "Nothing matches" in browser.get("/refused?q=nobody").text
        nobody = browser.get("/messages?q=nobody").text  # who was refused at MAIL named no recipient
        assert '<a href="/refused">latest refusals</a>' in nobody
        searched = browser.get("/messages?q=ann@example.com").text
        assert "1 command about “ann@example.com” was refused by Waypost" in searched
        assert 'href="/refused?q=ann%40example.com"' in searched
        (one,) = api.items("/refusals", recipient="ANN@example.com")
        assert (one["user"], one["ip"], one["code"]) == ("shop", "192.0.2.9", 553)
        assert [row["count"] for row in api.items("/refusals", **{"from": "1d"})] == [3, 7, 1]
        first = api.get("/refusals", limit=1)
        assert api.get("/refusals", limit=1, cursor=first["next"])["items"] != first["items"]


def test_they_are_deleted_by_age_and_by_number(
    tmp_path: Path, some: list[Refusal], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Scene(tmp_path) as scene:
        scene.write(lambda connection: refusals.insert_refusals(connection, some))
        month_ago = datetime.now(UTC) - refusals.MAX_AGE
        assert scene.write(lambda connection: refusals.drop_refusals(connection, month_ago)) == 1
        monkeypatch.setattr(refusals, "MAX_REFUSALS", 1)
        assert scene.write(lambda connection: refusals.drop_refusals(connection, month_ago)) == 1
        assert scene.write(lambda connection: refusals.drop_refusals(connection, month_ago)) == 0


def test_where_addresses_are_not_stored_no_refusal_has_one(tmp_path: Path, some: list[Refusal]) -> None:
    with Scene(tmp_path, {"privacy": {"mode": "pseudonymous"}}) as scene:
        scene.write(lambda connection: refusals.insert_refusals(connection, some))
        found = scene.read(lambda connection: refusals.list_refusals(connection, refusals.RefusalFilter(), 10)).items
        assert not any(row["ip"] or row["reverse_path"] or row["user"] for row in found)
        assert not any("@" in row["recipient"] for row in found)
        wanted = refusals.RefusalFilter(recipient="ann@example.com")
        assert len(scene.read(lambda connection: refusals.list_refusals(connection, wanted, 10)).items) == 1
