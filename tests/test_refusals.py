"""What is refused at the door is found by its envelope, within a budget: nobody fills the disk by being refused."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from relay.store import refusals
from relay.store.refusals import Refusal
from tests.upstream import Upstream
from tests.waypost_server import Waypost
from tests.web.api_client import ApiClient
from tests.web.scene import Scene

EVIL = "<script>alert('x')</script>"


@pytest.fixture(scope="module")
def strict(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Waypost]:
    """A relay that takes small mail to one recipient."""
    limits = '[access]\nmax_size = "10KB"\nmax_recipients = 1\n'
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
    (found,) = strict.wait_for_rows(*words, until=lambda rows: rows)
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
    found = strict.wait_for_rows(*words, until=lambda rows: total(rows) >= 150)
    assert total(found) in (150, 150 + before)
    kept = [row for row in found if row["recipient"]]
    assert 40 <= len(kept) <= 125  # sixty a minute, and a minute may have begun meanwhile
    (counted, *_) = (row for row in found if not row["recipient"])
    assert counted["from"] is None and counted["ip"] is None and "too many" in str(counted["text"])


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
        scene.write(lambda connection: refusals.insert_refusals(connection, some))
        page = browser.get("/refused").text
        assert "ann@example.com" in page and "553 5.7.1" in page and EVIL not in page
        assert "7 more like that, only counted" in page
        assert "192.0.2.9" not in browser.get("/refused?q=192.0.2.1").text
        assert "Nothing matches" in browser.get("/refused?q=nobody").text
        searched = browser.get("/messages?q=ann@example.com").text
        assert "1 command about “ann@example.com” was refused at our door" in searched
        assert 'href="/refused?q=ann%40example.com"' in searched
        (one,) = api.items("/refusals", recipient="ANN@example.com")
        assert (one["user"], one["ip"], one["code"]) == ("shop", "192.0.2.9", 553)
        assert [row["count"] for row in api.items("/refusals", **{"from": "1d"})] == [7, 1]
        first = api.get("/refusals", limit=1)
        assert api.get("/refusals", limit=1, cursor=first["next"])["items"] != first["items"]


def test_they_are_deleted_by_age_and_by_number(
    tmp_path: Path, some: list[Refusal], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Scene(tmp_path) as scene:
        scene.write(lambda connection: refusals.insert_refusals(connection, some))
        month_ago = datetime.now(UTC) - refusals.MAX_AGE
        assert scene.write(lambda connection: refusals.drop_refusals(connection, month_ago)) == 1
        monkeypatch.setattr(refusals, "MAX_KEPT", 1)
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
