"""The web side while the database is away: the same answers, and every event afterwards, once."""

import asyncio
import resource
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from relay import ids
from relay.edits import Kind
from relay.event_type import EventType
from relay.store import facts
from relay.store.database import engine, journal
from relay.store.tracking import hit_facts, hits
from tests.waiting import until, until_async
from tests.web.scene import Scene, is_image
from web.public import write_behind

pytestmark = pytest.mark.sqlite  # its file is locked, damaged or moved away


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Scene, sqlite3.Connection]]:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_S", 0.4)
    with Scene(tmp_path, replays=False) as scene:
        lock = sqlite3.connect(tmp_path / "waypost.db", isolation_level=None)
        yield scene, lock
        lock.close()


def test_with_the_database_locked_answers_come_at_once_and_the_events_wait_in_the_journal(
    locked: tuple[Scene, sqlite3.Connection],
) -> None:
    scene, lock = locked
    message = scene.file()
    lock.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    for _ in range(10):
        assert is_image(scene.http.get(scene.path(Kind.OPEN, message)), "gif")
        assert scene.http.get(scene.path(Kind.CLICK, message)).status_code == 302
    assert time.monotonic() - began < 20 * engine.BUSY_TIMEOUT_S / 2  # each that waited for the lock would take one
    assert scene.http.get(scene.path(Kind.UNSUBSCRIBE, message)).status_code == 200
    assert scene.http.post(scene.path(Kind.UNSUBSCRIBE, message), data={"action": "unsubscribe"}).status_code == 200
    until(lambda: sum(len(journal.read_lines(path)) for path in (scene.folder / "journal").iterdir()) == 21)
    lock.execute("ROLLBACK")
    assert not scene.events(message)

    def is_replayed() -> bool:
        asyncio.run(scene.store.replay_journal())
        row = scene.delivery(message)
        return (row["opens_human"], row["clicks_human"]) == (10, 10) and row["unsubscribed_at"] is not None

    until(is_replayed)


def test_at_a_stop_only_facts_that_no_disk_has_are_called_lost(
    locked: tuple[Scene, sqlite3.Connection], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scene, lock = locked
    monkeypatch.setattr(write_behind, "_LAST_TRIES_S", 0.1)
    monkeypatch.setattr(write_behind, "_GATHER_S", 0.5)  # so that the second and the third are tried together
    message = scene.file()
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)

    async def run() -> None:
        buffer = write_behind.FactBuffer(scene.store)
        for _ in range(2):
            await buffer.add("hit", hit_facts.Hit(ids.new(), EventType.CLICKED, datetime.now(UTC), message, 0, "human"))
            await until_async(lambda: any("fact-journaled" in one.getMessage() for one in caplog.records))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, unlimited[1]))  # as if the disk were full
        buffer.add("hit", hit_facts.Hit(ids.new(), EventType.OPENED, datetime.now(UTC), message, 0, "human"))
        await asyncio.wait_for(buffer.flush(), 60)

    lock.execute("BEGIN IMMEDIATE")
    try:
        asyncio.run(run())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    lost = [one.getMessage() for one in caplog.records if one.getMessage().startswith("fact-lost ")]
    assert len(lost) == 1 and '="1 facts" ' in lost[0]
    lock.execute("ROLLBACK")

    def is_replayed() -> bool:
        asyncio.run(scene.store.replay_journal())
        return int(scene.delivery(message)["clicks_human"]) == 2

    until(is_replayed)
    assert not scene.events(message, EventType.OPENED)


def test_with_the_database_gone_answers_come_all_the_same(tmp_path: Path) -> None:
    with Scene(tmp_path, replays=False) as scene:
        message = scene.file()
        scene.store._read_engine.dispose()
        scene.store.writer._disconnect()
        (tmp_path / "waypost.db").write_bytes(b"this is no database" * 1000)
        for name in ("waypost.db-wal", "waypost.db-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        assert is_image(scene.http.get(scene.path(Kind.OPEN, message)), "gif")
        assert scene.http.get(scene.path(Kind.CLICK, message)).status_code == 302
        page = scene.http.get(scene.path(Kind.UNSUBSCRIBE, message))
        assert page.status_code == 200 and "Unsubscribe" in page.text
        assert scene.http.get("/readyz").status_code == 503
        assert scene.http.get("/healthz").status_code == 200
        until(lambda: sum(len(journal.read_lines(path)) for path in (tmp_path / "journal").iterdir()) == 2)


def test_with_the_database_gone_an_unsubscribe_is_granted_only_where_the_message_cannot_have_expired(
    tmp_path: Path,
) -> None:
    with Scene(tmp_path, replays=False) as scene:
        keep = scene.config.privacy.keep_events
        young, old = (
            scene.path(
                Kind.UNSUBSCRIBE, ids.from_parts(int((datetime.now(UTC) - keep + by).timestamp() * 1000), b"abcdef")
            )
            for by in (timedelta(hours=1), -timedelta(hours=1))
        )
        (tmp_path / "waypost.db").rename(tmp_path / "elsewhere.db")
        for form, words in (
            ({"List-Unsubscribe": "One-Click"}, "Not done"),
            ({"action": "unsubscribe"}, "nothing has"),
        ):
            answer = scene.http.post(old, data=form)
            assert answer.status_code == 503 and words in answer.text
        had_pending = scene.store.journal.has_pending
        assert scene.http.post(young, data={"action": "unsubscribe"}).status_code == 200
        assert scene.store.journal.has_pending and not had_pending
        (tmp_path / "elsewhere.db").rename(tmp_path / "waypost.db")
        assert scene.http.post(old, data={"action": "unsubscribe"}).status_code == 410


def test_a_hit_of_a_message_that_is_not_written_down_yet_waits_in_the_journal(tmp_path: Path) -> None:
    with Scene(tmp_path, replays=False) as scene:
        early = ids.new()
        assert is_image(scene.http.get(scene.path(Kind.OPEN, early)), "gif")
        until(lambda: list((tmp_path / "journal").glob("*.jsonl")))  # it has been tried
        scene.file(id=early)
        asyncio.run(scene.store.replay_journal())
        assert scene.delivery(early)["opens_human"] == 1


def test_stopping_waits_for_the_hits_that_are_on_their_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(connection: sa.Connection, hit: hit_facts.Hit) -> None:
        time.sleep(0.2)
        hits.record_hit(connection, hit)

    with Scene(tmp_path, replays=False) as scene:
        message = scene.file()
        monkeypatch.setitem(facts.FACTS, "hit", facts.FACTS["hit"]._replace(apply=slowly, apply_batch=None))
        scene.http.get(scene.path(Kind.OPEN, message))
        scene.stop()
        assert scene.delivery(message)["opens_human"] == 1
