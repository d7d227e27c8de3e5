"""Verdicts in the store, as hits come in by HTTP: relabelled by later ones, counted once, judged anew."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from relay.edits import Kind
from relay.event_type import EventType
from relay.store.database import tables
from relay.store.tracking import reclassification, verdicts
from relay.store.views import message_detail, statistics
from tests.postgresql_server import IS_POSTGRESQL
from tests.waiting import until
from tests.waypost_server import ROOT
from tests.web.scene import Scene
from web.public.mass_visitors import DeliveryVisit, MassVisitorDetector

CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/145.0.0.0 Safari/537.36"
)
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)"
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Behind a proxy that says whose address it is."""
    with Scene(tmp_path_factory.mktemp("front"), {"tracking": {"trusted_proxies": ["127.0.0.1"]}}) as running:
        yield running


def ask(scene: Scene, path: str, agent: str, address: str, method: str = "GET") -> None:
    answer = scene.http.request(method, path, headers={"user-agent": agent, "x-forwarded-for": address})
    assert answer.status_code in (200, 302)


def click(scene: Scene, message: str, link: int, agent: str = CHROME, address: str = "198.51.100.7") -> None:
    ask(scene, scene.path(Kind.CLICK, message, link=link), agent, address)


def wait_for_hits(scene: Scene, message: str, hits: int) -> sa.RowMapping:
    until(lambda: len(scene.events(message)) >= hits)
    return scene.delivery(message)


def test_a_third_link_relabels_the_first_two_and_the_counters_move(front: Scene) -> None:
    message = front.file()
    click(front, message, 1)
    click(front, message, 2)
    before = wait_for_hits(front, message, 2)
    assert (before["clicks_human"], before["opens_human"], before["opens_implied"]) == (2, 1, 1)
    click(front, message, 3)
    after = wait_for_hits(front, message, 3)
    assert (after["clicks_human"], after["clicks_machine"]) == (0, 3)
    assert (after["opens_human"], after["opens_implied"]) == (0, 0)
    for event in front.events(message):
        assert (event["verdict"], event["reasons"]) == ("machine", ["burst"])


def test_a_person_s_click_is_an_open_until_one_is_seen(front: Scene) -> None:
    message = front.file()
    click(front, message, 1, address="10.1.2.3")  # an inner address tells nobody apart
    assert wait_for_hits(front, message, 1)["opens_human"] == 1
    [event] = front.events(message)
    assert event["reasons"] == [verdicts.IMPLIES_OPEN]
    ask(front, front.path(Kind.OPEN, message), GMAIL, "66.249.84.3")
    row = wait_for_hits(front, message, 2)
    assert (row["opens_human"], row["opens_proxied"], row["opens_implied"], row["clicks_human"]) == (0, 1, 0, 1)
    assert front.events(message)[0]["reasons"] == []


def test_stats_and_stories_count_implied_opens_and_unique_people(tmp_path: Path) -> None:
    with Scene(tmp_path) as scene:
        link = {"number": 1, "url": "https://a.example/", "decision": "tracked", "reason": "", "text": "A"}
        message = scene.file("a@example.com", "b@example.com", "c@example.com", links=[link])
        for number in (0, 0, 1):
            scene.http.get(scene.path(Kind.CLICK, message, number))
        scene.http.get(scene.path(Kind.OPEN, message, 2))
        scene.http.get(scene.path(Kind.CLICK, message, 2), headers={"user-agent": "curl/8"})
        until(lambda: len(scene.events(message)) == 5)
        start = scene.delivery(message)["settled_at"] - timedelta(minutes=1)
        found = scene.read(lambda connection: statistics.read_totals(connection, statistics.Selection(start)))
        assert (found.opens.human, found.opened_by, found.clicks.human, found.clicked_by) == (3, 3, 3, 2)
        day = start.replace(hour=0, minute=0, second=0, microsecond=0)
        by_day = scene.read(lambda connection: statistics.read_groups(connection, statistics.Selection(day), "day"))
        assert sum(one.opens.human for one in by_day.values()) == 3
        told = scene.read(lambda connection: message_detail.read_message(connection, message))
        assert told is not None and (told.opened_by, told.clicked_by) == (3, 2)
        assert told.links[0]["clicks"] == {"human": 3, "machine": 1, "unknown": 0, "unique": 2}


def test_head_before_get_is_a_machine_and_counts_once(front: Scene) -> None:
    message = front.file()
    ask(front, front.path(Kind.CLICK, message), CHROME, "203.0.113.5", "HEAD")
    click(front, message, 1, address="203.0.113.5")
    until(lambda: front.delivery(message)["clicks_machine"] == 1)
    assert front.events(message)[0]["reasons"] == ["head"]


def test_two_links_and_the_unsubscribe_page_at_once_are_a_machine_s(front: Scene) -> None:
    message = front.file()
    click(front, message, 1)
    click(front, message, 2)
    ask(front, front.path(Kind.UNSUBSCRIBE, message), CHROME, "198.51.100.7")
    until(lambda: front.delivery(message)["clicks_machine"] == 2)


def test_a_click_at_once_is_relabelled_when_the_person_comes_from_elsewhere(front: Scene) -> None:
    message = front.file()
    click(front, message, 1)
    assert wait_for_hits(front, message, 1)["clicks_human"] == 1
    ask(front, front.path(Kind.OPEN, message), MAC, "203.0.113.88")
    row = wait_for_hits(front, message, 2)
    assert (row["clicks_human"], row["clicks_machine"], row["opens_human"]) == (0, 1, 1)
    assert front.events(message)[0]["reasons"] == ["unseen"]


def test_a_scanner_s_own_network_tells_on_any_browser(front: Scene) -> None:
    message = front.file()
    click(front, message, 1, address="148.163.131.9")
    assert wait_for_hits(front, message, 1)["clicks_machine"] == 1
    assert front.events(message)[0]["reasons"] == ["scanner_network:proofpoint"]


def test_one_address_at_many_mailboxes_is_a_machine_at_all_of_them(front: Scene) -> None:
    message = front.file(*(f"{n}@example.com" for n in range(8)))
    for number in range(8):
        ask(front, front.path(Kind.OPEN, message, number), CHROME, "192.0.2.77")
    until(lambda: sum(front.delivery(message, number)["opens_machine"] for number in range(8)) == 8)
    assert sum(front.delivery(message, number)["opens_human"] for number in range(8)) == 0


def test_the_memory_of_visitors_is_bounded() -> None:
    crowds = MassVisitorDetector()
    for n in range(30_000):
        assert not crowds.observe(f"192.0.{n % 256}.{n // 256}", CHROME, DeliveryVisit(n / 1000, str(n), 0))
    assert len(crowds._visitors) <= 10_000
    assert not any(crowds.observe("127.0.0.1", CHROME, DeliveryVisit(1.0, str(n), 0)) for n in range(100))


def test_the_past_is_judged_by_the_rules_of_today(tmp_path: Path) -> None:
    with Scene(tmp_path) as scene:
        messages = [scene.file(f"{n}@example.com") for n in range(3)]
        for message in messages:
            for _ in range(2):
                scene.hit(message, EventType.OPENED, "human", user_agent="BarracudaCentral")
        scene.hit(messages[0], EventType.OPENED, "machine", user_agent=MAC, reasons=("scanner_network:barracuda",))
        kept = scene.file("kept@example.com")
        scene.hit(kept, EventType.CLICKED, "human")  # no user agent was kept: as it was judged then
        (tmp_path / "config.toml").write_text(
            f'[relay]\ndata_dir = "."\n[database]\nurl = "{scene.database_url if IS_POSTGRESQL else ""}"\n'
        )

        def reclassify(*words: str) -> dict[str, int]:
            command = [sys.executable, "-m", "relay", "events", "reclassify", *words]
            config = ["--config", str(tmp_path / "config.toml")]
            done = subprocess.run([*command, *config], cwd=ROOT, capture_output=True, check=True)
            answer: dict[str, int] = json.loads(done.stdout)
            return answer

        assert reclassify() == {"judged": 8, "changed": 6}
        assert reclassify("--since", "1h") == {"judged": 8, "changed": 0}
        assert [scene.delivery(one)["opens_machine"] for one in messages] == [3, 2, 2]
        assert all(scene.delivery(one)["opens_human"] == 0 for one in messages)
        assert scene.delivery(kept)["clicks_human"] == 1
        assert {row["verdict"] for row in scene.events(messages[1])} == {"machine"}


def test_many_deliveries_are_judged_in_steps_and_only_what_is_outdated_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reclassification, "_MAX_HITS", 7)
    monkeypatch.setattr(reclassification, "_HITS_AFTER", reclassification._HITS_AFTER.limit(7))
    with Scene(tmp_path) as scene:
        message = scene.file(*(f"{n}@example.com" for n in range(20)))
        for number in range(20):
            scene.hit(message, EventType.OPENED, "human", number, user_agent="curl/8")
        for expected in (20, 0):
            after: tuple[str, int] | None = None
            steps = hits = changed = 0
            while steps == 0 or after:
                done = scene.read(partial(reclassification.review_hits, since=None, after=after))
                changed += scene.write(partial(reclassification.reclassify_deliveries, deliveries=done.outdated_hits))
                after, steps, hits = done.after, steps + 1, hits + done.hits
            assert (hits, changed) == (20, expected) and steps >= 3
        counted = sa.select(sa.func.sum(tables.delivery.c.opens_machine))
        assert scene.read(lambda connection: connection.scalar(counted)) == 20
