"""The database away: mail flows on inline, queued mail is put off, links answer, and nothing is forgotten."""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from time import monotonic, sleep

import httpx
import pytest

from tests.postgresql_server import IS_POSTGRESQL
from tests.upstream import ScriptedUpstream
from tests.user_agents import PHONE_FIELDS
from tests.waiting import until
from tests.waypost_server import Waypost, html_mail, tracking_urls


def journal(relay: Waypost) -> list[Path]:
    return list((relay.folder / "data" / "journal").glob("*.jsonl"))


@pytest.fixture
def own(tmp_path: Path, upstream: ScriptedUpstream) -> Iterator[Waypost]:
    with Waypost(tmp_path, upstream.port, '[delivery]\nretry = ["1s"]\n') as relay:
        yield relay


def test_mail_flows_and_links_answer_and_the_facts_are_replayed(own: Waypost, upstream: ScriptedUpstream) -> None:
    own.send(html_mail(), "before-outage@example.com")
    urls = tracking_urls(upstream.to("before-outage@example.com")[0].octets)
    with own.locked():
        started = monotonic()
        assert own.send(html_mail(), "during@example.com").startswith("250 2.0.0 Ok: queued")
        assert own.send(html_mail(), "e550-5.1.1+during@example.com").startswith("550 5.1.1")
        assert monotonic() - started < 5
        during = tracking_urls(upstream.to("during@example.com")[0].octets)
        started = monotonic()
        assert own.get(urls["c"][0], headers=PHONE_FIELDS).headers["location"] == "https://shop.example/a?b=1"
        assert own.get(urls["o"][0], headers=PHONE_FIELDS).status_code == 200
        assert own.get(during["c"][0], headers=PHONE_FIELDS).status_code == 302
        assert monotonic() - started < 5
        until(lambda: sum(path.read_bytes().count(b"hit ") for path in journal(own)) == 3)
    assert len(own.events("opened", "before-outage@example.com")) == 1
    assert len(own.events("clicked", "before-outage@example.com")) == 1
    assert own.events("delivered", "during@example.com")
    assert own.events("bounced", "e550-5.1.1+during@example.com")
    assert len(own.events("clicked", "during@example.com")) == 1
    until(lambda: not journal(own))
    # Replayed is counted once.
    assert len(own.events("clicked", "before-outage@example.com")) == 1
    [row] = own.rows("messages", "--query", "before-outage@example.com")
    [delivery] = row["deliveries"]
    assert delivery["opens"]["human"] == delivery["clicks"]["human"] == 1


def test_what_can_be_made_safe_nowhere_is_put_off(own: Waypost, upstream: ScriptedUpstream) -> None:
    with own.locked():
        assert own.send(html_mail(), "e451-4.3.0-n1+unsafe@example.com").startswith("451 4.3.0")
    assert own.send(html_mail(), "e451-4.3.0-n1+unsafe@example.com").startswith("250")


def test_an_unsubscribe_while_the_database_is_away_holds_when_it_is_back(
    own: Waypost, upstream: ScriptedUpstream
) -> None:
    own.send(html_mail(), "leaving@example.com")
    [url] = tracking_urls(upstream.to("leaving@example.com")[0].octets)["u"]
    with own.locked():
        assert httpx.post(url, data={"List-Unsubscribe": "One-Click"}).status_code == 200
    assert own.events("unsubscribed", "leaving@example.com")
    own.send(html_mail(), "leaving@example.com")
    assert own.events("suppressed", "leaving@example.com")


def test_a_journal_that_a_dead_server_left_is_replayed_at_the_next_start(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    relay = Waypost(tmp_path, upstream.port).start()
    with relay.locked():
        relay.send(html_mail(), "orphan@example.com")
        assert journal(relay)
        relay.kill()
    with relay:
        assert relay.events("delivered", "orphan@example.com")


def test_with_neither_database_nor_journal_mail_flows_and_only_what_must_be_kept_is_put_off(own: Waypost) -> None:
    folder = own.folder / "data" / "journal"
    shutil.rmtree(folder, ignore_errors=True)
    folder.write_text("no folder: nothing can be written here")
    with own.locked():
        assert own.send(html_mail(), "flows@example.com").startswith("250 2.0.0 Ok: queued")
        assert own.send(html_mail(), "e550-5.1.1+flows@example.com").startswith("550 5.1.1")
        assert own.send(html_mail(), "e451-4.3.0-n1+nowhere@example.com").startswith("451 4.3.0")
    folder.unlink()
    assert own.send(html_mail(), "e451-4.3.0-n1+nowhere@example.com").startswith("250")


def test_what_the_journal_knows_the_end_of_is_not_sent_again_though_its_lease_has_lapsed(tmp_path: Path) -> None:
    sink = ScriptedUpstream(delay_s=1.5)
    relay = Waypost(tmp_path, sink.port, '[delivery]\nmode = "queued"\nretry = ["1s"]\n')
    relay.mistakes = ["relay.store.facts:replay_lines"]  # the journal is replayed later than the queue is looked at
    with relay:
        relay.send(html_mail(), "lapsed@example.com")
        until(lambda: sink.verbs["DATA"])
        with relay.locked() as database:
            until(lambda: any(b"outcomes " in one.read_bytes() for one in journal(relay)))
            assert relay.send(html_mail(), "refused@example.com").startswith(
                "451"
            )  # behind it: the database refused both
            # As after an outage of more than three minutes.
            database.exec_driver_sql("UPDATE delivery SET leased_until = next_attempt_at")
        sink.delay_s = 0.0
        for n in range(3):
            send = partial(relay.send, html_mail(), f"next{n}@example.com")
            until(send, fits=lambda reply: reply.startswith("250"))  # 451 until the writer goes on
            assert relay.events("delivered", f"next{n}@example.com")
            sleep(1)
    relay.mistakes = []
    with relay:
        assert relay.events("delivered", "lapsed@example.com")
    assert len(sink.to("lapsed@example.com")) == 1
    sink.close()


@pytest.mark.parametrize("how", ['mode = "queued"', 'mode = "inline"\ninline_timeout = "1s"'])
def test_an_attempt_that_outlasts_its_lease_is_the_only_one(how: str, tmp_path: Path) -> None:
    sink = ScriptedUpstream(delay_s=4.5)  # meanwhile the queue is looked at each second
    with Waypost(tmp_path, sink.port, f"[delivery]\n{how}\n") as relay:
        assert relay.send(html_mail(), "slow@example.com").startswith("250")
        until(lambda: sink.verbs["DATA"])
        with relay.locked() as database:  # as after an outage of more than three minutes
            database.exec_driver_sql("UPDATE delivery SET leased_until = next_attempt_at")
        assert relay.events("delivered", "slow@example.com")
    assert sink.verbs["DATA"] == 1
    sink.close()


def test_mail_that_cannot_be_read_right_after_it_was_leased_goes_out_soon_after_it_can(tmp_path: Path) -> None:
    sink = ScriptedUpstream(at_helo="451 4.3.0 later")
    with Waypost(tmp_path, sink.port, '[delivery]\nmode = "queued"\nretry = ["1s"]\n') as relay:
        relay.send(html_mail(), "unread@example.com")
        relay.wait_for_log(" failed ")  # from memory: what comes next is read
        relay.sql("ALTER TABLE content RENAME TO aside")
        sink.at_helo = ""
        reason = 'relation \\"content\\" does not exist' if IS_POSTGRESQL else "no such table: content"
        relay.wait_for_log(f'database-unavailable reason="{reason}')
        relay.sql("ALTER TABLE aside RENAME TO content")
        assert sink.wait_for(lambda one: "unread@example.com" in one.recipients, 1)
        assert "Traceback" not in relay.read_log()
        assert relay.events("delivered", "unread@example.com")
    sink.close()
