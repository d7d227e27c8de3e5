"""Links too long for a URL: tracked all the same, and followed to the exact octets whatever happens to the database.

Where one leads is on disk before the mail leaves; the token only refers to it, and nothing but the token opens it.
"""

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from relay import tokens
from relay.edits import Kind
from relay.rewrite.plan import Plan
from relay.store import retention
from relay.store.database import tables
from relay.store.queue import long_url_files, long_urls
from relay.store.queue.long_url_files import LongUrlFiles
from relay.store.store import DatabaseUnavailableError, Store
from tests.message_factory import count_rows
from tests.postgresql_server import IS_POSTGRESQL
from tests.store.retention_steps import in_steps
from tests.upstream import ScriptedUpstream
from tests.waypost_server import Waypost, html_mail, tracking_urls

AT = datetime(2026, 11, 1, tzinfo=UTC)


def long_url(name: str, octets: int = 2000) -> str:
    """One that deflate makes no shorter."""
    url = f"https://shop.example/{name}?secret-word&t="
    return url + os.urandom(octets).hex()[: octets - len(url)]


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory, upstream: ScriptedUpstream) -> Iterator[Waypost]:
    with Waypost(tmp_path_factory.mktemp("long"), upstream.port) as running:
        yield running


def sent(relay: Waypost, upstream: ScriptedUpstream, url: str, to: str) -> str:
    """The link's tracking URL, in a mail that has arrived."""
    assert relay.send(html_mail(link=url), to).startswith("250")
    return tracking_urls(upstream.to(to)[0].octets)["c"][0]


def leads_to(relay: Waypost, tracked: str) -> str:
    answer = relay.get(tracked)
    assert answer.status_code == 302, answer.text
    return answer.headers["location"]


@contextmanager
def moved_away(relay: Waypost) -> Iterator[None]:
    if IS_POSTGRESQL:
        with relay.locked() as database:
            database.exec_driver_sql("LOCK TABLE destination, message, event")  # nor are they read
            yield
        return
    file = relay.folder / "data" / "waypost.db"
    file.rename(file.with_name("elsewhere.db"))
    yield
    file.with_name("elsewhere.db").rename(file)


def test_a_link_of_2000_octets_arrives_as_a_short_one_and_leads_to_the_same_octets(
    relay: Waypost, upstream: ScriptedUpstream
) -> None:
    url = long_url("first")
    tracked = sent(relay, upstream, url, "first@example.com")
    assert len(tracked) < 120  # 900 are allowed
    assert leads_to(relay, tracked) == url
    assert relay.events("clicked", "first@example.com")[0]["url"] == url
    (read,) = relay.rows("token", "read", tracked)
    assert read["url"] == url
    again = sent(relay, upstream, url, "second@example.com")
    assert again != tracked and leads_to(relay, again) == url
    kept = [path for path in (relay.folder / "data" / "destinations").rglob("*") if path.is_file()]
    assert len(kept) == 1, "equal destinations are kept once"
    assert b"secret-word" not in kept[0].read_bytes()


def test_it_leads_there_after_a_kill_right_behind_the_250_and_with_the_database_away(
    relay: Waypost, upstream: ScriptedUpstream
) -> None:
    first, second, third = (long_url(f"kill{n}") for n in range(3))
    tracked = [sent(relay, upstream, first, "kill0@example.com")]
    relay.kill()
    relay.start()
    tracked.append(sent(relay, upstream, second, "kill1@example.com"))
    with moved_away(relay):
        assert [leads_to(relay, one) for one in tracked] == [first, second]
        tracked.append(sent(relay, upstream, third, "kill2@example.com"))  # and a message that is journaled
        assert leads_to(relay, tracked[2]) == third
    assert relay.events("clicked", "kill2@example.com")[0]["url"] == third
    [(rows,)] = relay.sql("SELECT count(*) FROM destination")
    assert rows == len(list((relay.folder / "data" / "destinations").glob("??/*")))  # other machines have them all


def test_what_was_changed_on_disk_leads_nowhere(relay: Waypost, upstream: ScriptedUpstream) -> None:
    tracked = [sent(relay, upstream, long_url(f"evil{n}"), f"evil{n}@example.com") for n in range(2)]
    ring = tokens.open_key_ring(relay.folder / "data" / "keys.json")
    found = [ring.read_token(Kind.CLICK, url.rpartition("/")[2]).stored_reference for url in tracked]
    names = [long_url_files.file_name(reference) for reference in found]
    paths = [relay.folder / "data" / "destinations" / name[:2] / name for name in names]
    octets = [path.read_bytes() for path in paths]
    paths[0].write_bytes(octets[1])  # somebody else's
    paths[1].write_bytes(octets[1][:-1] + bytes([octets[1][-1] ^ 1]))
    relay.sql("DELETE FROM destination WHERE name = :name", name=names[0])
    relay.sql("UPDATE destination SET sealed = :sealed WHERE name = :name", sealed=octets[0], name=names[1])
    for url in tracked:
        answer = relay.get(url)
        assert answer.status_code == 404 and "location" not in answer.headers


def test_a_destination_that_cannot_be_stored_is_left_in_the_mail(
    upstream: ScriptedUpstream, relay: Waypost, tmp_path: Path
) -> None:
    url, too_long = long_url("left"), long_url("left", tokens.MAX_DESTINATION_OCTETS + 1)
    folder = relay.folder / "data" / "destinations"
    sent(relay, upstream, long_url("before"), "before@example.com")  # makes it, where this test is the first
    folder.rename(tmp_path / "aside")
    folder.write_bytes(b"")  # no folder can be made here
    relay.send(html_mail(link=url), "left-alone@example.com")
    folder.unlink()
    (tmp_path / "aside").rename(folder)
    relay.send(html_mail(link=too_long), "longer@example.com")
    assert url.encode() in upstream.to("left-alone@example.com")[0].octets
    assert too_long.encode() in upstream.to("longer@example.com")[0].octets
    for to in ("left-alone@example.com", "longer@example.com"):
        assert relay.get(tracking_urls(upstream.to(to)[0].octets)["o"][0]).status_code == 200  # the rest is tracked
    assert "long-links-untracked" in relay.read_log()


def test_instrument_shows_such_a_link_as_tracked_once_it_is_stored_and_writes_nothing(
    relay: Waypost, upstream: ScriptedUpstream
) -> None:
    def link(url: str) -> dict[str, str]:
        report = relay.folder / "report.json"
        relay.cli("instrument", "-", "--to", "a@example.com", "--report", str(report), stdin=html_mail(link=url))
        (found,) = json.loads(report.read_text())["links"]
        return dict(found)

    url = long_url("shown")
    assert (link(url)["decision"], link(url)["reason"]) == ("skipped", "too_long")
    sent(relay, upstream, url, "shown@example.com")
    assert link(url)["decision"] == "tracked"


def test_the_sandbox_stores_destinations_too(sandbox: Waypost) -> None:
    url = long_url("sandbox")
    sandbox.send(html_mail(link=url), "sandboxed@example.com")
    data = sandbox.folder / "data"
    [(message, plan)] = sandbox.sql("SELECT id, plan FROM message ORDER BY id DESC LIMIT 1")
    minter = tokens.Minter(tokens.open_key_ring(data / "keys.json"), sandbox.tracking)
    copy = Plan.from_json(plan).render(html_mail(link=url), minter.url_factory(message, 0))
    assert leads_to(sandbox, tracking_urls(copy)["c"][0]) == url


def test_another_machine_has_it_from_the_database_and_keeps_it(opened: Store, tmp_path: Path) -> None:
    reference, url = os.urandom(16), long_url("elsewhere").encode()
    rows = opened.long_url_files.save({reference: url})
    for _ in range(2):
        opened.writer.submit(lambda connection: long_urls.insert_rows(connection, rows, AT)).result(60)
    other = Store(opened._write_engine.url.render_as_string(hide_password=False), tmp_path / "other")
    try:
        assert asyncio.run(other.find_long_url(os.urandom(16))) is None
        assert asyncio.run(other.find_long_url(reference)) == url
        other.close()
        assert LongUrlFiles(tmp_path / "other").find(reference) == url
        with pytest.raises(DatabaseUnavailableError):  # nobody can say where it leads: the link is not called wrong
            asyncio.run(_lost(tmp_path).find_long_url(os.urandom(16)))
    finally:
        other.close()


def _lost(folder: Path) -> Store:
    return Store(f"sqlite:///{folder / 'nowhere' / 'waypost.db'}", folder / "lost")


def test_destinations_go_when_no_mail_has_used_them_for_long(opened: Store) -> None:
    old, used, new = (os.urandom(16) for _ in range(3))
    rows = {one: opened.long_url_files.save({one: b"https://shop.example/"}) for one in (old, used, new)}
    folder = opened.journal._directory.parent / long_url_files.FOLDER
    for one in (old, used):
        name = long_url_files.file_name(one)
        os.utime(folder / name[:2] / name, (AT.timestamp(), AT.timestamp()))
        opened.writer.submit(partial(long_urls.insert_rows, rows=rows[one], at=AT)).result(60)
    now = datetime.now(UTC)
    for one in (used, new):
        opened.long_url_files.save({one: b"https://shop.example/"})
        opened.writer.submit(partial(long_urls.insert_rows, rows=rows[one], at=now)).result(60)
    assert opened.long_url_files.delete_older(AT + timedelta(days=1)) == 1
    assert in_steps(opened, retention.drop_long_urls) == [1]
    assert count_rows(opened, tables.destination) == 2
    fresh = LongUrlFiles(folder.parent)
    assert [fresh.find(one) is not None for one in (old, used, new)] == [False, True, True]
