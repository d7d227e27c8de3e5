"""Statistics by the API: the same numbers as JSON and as CSV, held against the description by the client."""

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from relay.event_type import EventType
from relay.store.database.tables import Status
from tests.web.api_client import ApiClient
from tests.web.scene import Scene


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiClient]:
    """Of an installation with mail of two streams, an own notice, and hits."""
    folder: Path = tmp_path_factory.mktemp("statistics")
    with Scene(folder) as scene, ApiClient(scene) as client:
        news = scene.file("ann@mail.example", "bob@post.example", stream="news", tags=["weekly", "=1+1"])
        for number, verdict in ((0, "human"), (0, "human"), (1, "proxied"), (1, "machine")):
            scene.hit(news, EventType.OPENED, verdict, number)
        scene.hit(news, EventType.CLICKED, "human", 0, url="https://a.example/", link=1)
        bounced = {"kind": "hard", "category": "user_unknown"}
        scene.file("gone@post.example", stream="bills", tags=[], status=Status.BOUNCED, outcome=bounced)
        scene.file("app@sender.example", stream="notice", tags=[])
        yield client


def test_a_span_has_its_totals_rates_and_notices(api: ApiClient) -> None:
    found = api.get("/stats", **{"from": "1d"})
    totals = found["totals"]
    assert (totals["accepted"], totals["delivered"], totals["bounced"]) == (2, 2, 1)
    assert totals["opens"] == {"human": 2, "proxied": 1, "machine": 1, "unknown": 0, "unique": 2}
    assert totals["rates"] == {"bounced": 0.33333, "complained": 0.0, "opened": 1.0, "clicked": 0.5}
    assert (found["notices"], found["items"], found["by"]) == (1, [], None)
    assert api.get("/stats", stream="notice")["totals"]["delivered"] == 1


def test_a_span_is_compared_with_the_one_before(api: ApiClient) -> None:
    now = datetime.now(UTC)
    found = api.get("/stats", compare="previous", to=(now + timedelta(days=2)).isoformat(), **{"from": "1d"})
    assert found["previous"]["totals"]["delivered"] == 0 and found["previous"]["to"] == found["from"]
    later = (now + timedelta(days=1)).isoformat()
    found = api.get("/stats", compare="previous", to=(now + timedelta(days=3)).isoformat(), **{"from": later})
    assert (found["totals"]["delivered"], found["previous"]["totals"]["delivered"]) == (0, 2)
    assert api.get("/stats")["previous"] is None


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("stream", {"news": (1, 2), "bills": (1, 0)}),
        ("tag", {"weekly": (1, 2), "=1+1": (1, 2)}),
        ("domain", {"mail.example": (None, 1), "post.example": (None, 1)}),
        ("category", {"user_unknown": (None, 0)}),
    ],
)
def test_it_is_shown_by_name(api: ApiClient, by: str, groups: dict[str, tuple[int | None, int]]) -> None:
    found = api.get("/stats", by=by)
    assert {one["group"]: (one["accepted"], one["delivered"]) for one in found["items"]} == groups
    assert sum(one["bounced"] for one in found["items"]) == (0 if by == "tag" else 1)


def test_every_hour_and_day_of_the_span_is_there(api: ApiClient) -> None:
    days = api.items("/stats", by="day", **{"from": "6d"})
    hours = api.items("/stats", by="hour", **{"from": "2d"})
    assert len(days) == 7 and len(hours) in (48, 49)
    assert sum(one["delivered"] for one in days) == sum(one["delivered"] for one in hours) == 2
    assert datetime.fromisoformat(days[1]["group"]) - datetime.fromisoformat(days[0]["group"]) == timedelta(days=1)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    later = api.get("/stats", to=(tomorrow + timedelta(days=1)).isoformat(), **{"from": tomorrow.isoformat()})
    assert later["totals"]["accepted"] == 0 and later["totals"]["rates"]["opened"] is None


def test_a_tag_or_a_domain_can_be_looked_at_alone(api: ApiClient) -> None:
    assert api.get("/stats", tag="weekly", by="day")["totals"]["clicks"]["unique"] == 1
    post = api.get("/stats", domain="POST.example", by="day")
    assert post["totals"]["categories"] == {"user_unknown": 1} and post["totals"]["accepted"] is None
    page = api.get("/stats", by="stream", limit=1)
    assert len(page["items"]) == 1 and page["next"] == "1"
    assert api.get("/stats", by="stream", limit=1, cursor="1")["next"] is None


@pytest.mark.parametrize(("query", "accept"), [({"format": "csv"}, "*/*"), ({}, "text/csv")])
def test_it_comes_as_csv_in_which_no_cell_is_a_formula(api: ApiClient, query: dict[str, str], accept: str) -> None:
    answer = api.http.get("/stats", params={"by": "tag"} | query, headers={"accept": accept})
    assert answer.headers["content-type"].startswith("text/csv") and answer.headers["cache-control"] == "no-store"
    rows = {row["tag"]: row for row in csv.DictReader(io.StringIO(answer.text))}
    assert set(rows) == {"weekly", "'=1+1"}
    assert [rows["weekly"][name] for name in ("delivered", "opens_proxied", "opened_by")] == ["2", "1", "2"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"by": "tag", "domain": "a.example"}, "not counted together"),
        ({"by": "domain", "stream": "news"}, "not counted together"),
        ({"by": "hour", "from": "400d"}, "more than 400 items by hour"),
        ({"from": "1d", "to": "2d"}, "must be before"),
        ({"by": "week"}, "by: "),
        ({"format": "xml"}, "format: "),
    ],
)
def test_what_cannot_be_counted_is_named(api: ApiClient, query: dict[str, str], expected: str) -> None:
    found = api.ask("GET", "/stats", 400, params=query)
    assert expected in found["error"]["message"]
