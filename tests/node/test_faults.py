"""A fault of ours is seen in the log, with its traceback and what it was about, and holds nothing else up."""

import asyncio
from pathlib import Path

import pytest
import sqlalchemy as sa

from relay import ids, webhook_signatures
from relay.event_type import EventType
from relay.store.database import tables
from relay.store.store import Store
from relay.store.tracking.hit_facts import Hit
from tests.message_factory import NOW, insert_messages, new_message
from tests.postgresql_server import IS_POSTGRESQL
from tests.receiver import Receiver, receiving
from tests.upstream import ScriptedUpstream
from tests.waiting import until
from tests.waypost_server import Waypost, html_mail
from web.public.write_behind import FactBuffer

GONE = "e550-5.1.1"


def test_a_notice_that_cannot_be_composed_holds_up_none_behind_it(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    settings = '[delivery]\nmode = "queued"\nretry = ["1h"]\n'
    with Waypost(tmp_path, upstream.port, settings) as relay:
        for name in ("broken", "sound"):
            relay.send(html_mail(), f"e451-4.3.0+{name}@example.com", sender=f"{name}-notice@sender.test")
            relay.events("deferred", f"e451-4.3.0+{name}@example.com")
        [broken] = relay.rows("messages", "--query", "e451-4.3.0+broken@example.com")
        [sound] = relay.rows("messages", "--query", "e451-4.3.0+sound@example.com")
        relay.sql("UPDATE message SET plan = '{' WHERE id = :id", id=broken["id"])
        relay.cli("queue", "drop", broken["id"], "--notify")
        relay.wait_for_log(" error fault where=dsn ", f"id={broken['id']}", "error=JSONDecodeError")
        relay.cli("queue", "drop", sound["id"], "--notify")
        assert upstream.to("sound-notice@sender.test")
        log = relay.read_log()
    assert "Traceback" in log and "in _prepended_fields" in log
    assert " database-unavailable " not in log
    assert log.count("where=dsn ") == 1  # in the hour


def test_a_fault_while_planning_is_logged_with_the_message_and_without_its_words(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    relay = Waypost(tmp_path, upstream.port)
    relay.mistakes = ["relay.rewrite.instrument:instrument_parts"]
    with relay:
        assert relay.send(html_mail(), "planned@example.com").startswith("250")
        [message] = relay.rows("messages", "--query", "planned@example.com")
        assert message["reasons"] == ["fault:KeyError"]
        relay.wait_for_log(" error fault where=plan ", f"id={message['id']}")
        log = relay.read_log()
    assert "in _body_edits" in log and "KeyError" in log and "secret@" not in log


def test_a_result_that_cannot_be_stored_as_it_is_is_stored_in_short(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    refuse = (
        "ALTER TABLE attempt ADD CONSTRAINT refuse CHECK (text NOT LIKE '%queued%')"
        if IS_POSTGRESQL
        else "CREATE TRIGGER refuse BEFORE INSERT ON attempt WHEN NEW.text LIKE '%queued%'"
        " BEGIN SELECT RAISE(ABORT, 'not these words'); END"
    )
    with Waypost(tmp_path, upstream.port, '[delivery]\nmode = "queued"\n') as relay:
        relay.sql(refuse)
        relay.send(html_mail(), "short@example.com")
        assert relay.events("delivered", "short@example.com")
        relay.wait_for_log(" error journal-line-invalid kind=outcomes ")
        log = relay.read_log()
    assert "fault where=outcomes" in log and "IntegrityError" in log and "Traceback" in log
    assert len(upstream.to("short@example.com")) == 1


@pytest.mark.parametrize(
    "mistake", ["relay.store.queue.outcomes:record_all_outcomes", "relay.store.queue.redaction:redact_outcomes"]
)
def test_a_result_that_can_be_stored_in_no_way_is_never_answered_by_a_second_delivery(
    mistake: str, tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    who = f"once-{mistake.rpartition(':')[2]}@example.com"
    relay = Waypost(tmp_path, upstream.port, '[delivery]\nmode = "queued"\n')
    relay.mistakes = [mistake]
    with relay:
        relay.send(html_mail(), who)
        relay.wait_for_log(" delivery-parked ", "number=0")
        log = relay.read_log()
        assert "fault where=outcomes" in log and "secret@" not in log
    relay.mistakes = []
    with relay:
        relay.send(html_mail(), "after@example.com")
        assert relay.events("delivered", "after@example.com")
        [waiting] = relay.rows("queue", "list")
        assert (waiting["recipient"], waiting["parked"]) == (who, True)
    assert len(upstream.to(who)) == 1


def test_a_fault_about_one_recipients_refusal_is_not_the_others_business(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    relay = Waypost(tmp_path, upstream.port)
    relay.mistakes = ["relay.bounce.classify:classify_reply"]
    plain = b"From: app@sender.test\r\nSubject: plain\r\n\r\nplain\r\n"
    with relay:
        assert relay.send(plain, "taken@example.com", f"{GONE}+fault@example.com").startswith("250")
        assert relay.events("delivered", "taken@example.com")
        assert relay.events("deferred", f"{GONE}+fault@example.com")
        [message] = relay.rows("messages", "--query", "taken@example.com")
        relay.wait_for_log(" error fault where=outcome ", f"id={message['id']}")
        log = relay.read_log()
    assert "secret@" not in log and "a mistake of ours, about …" in log
    assert len(upstream.to("taken@example.com")) == 1


def test_of_hits_that_cannot_be_written_only_the_bad_one_is_lost(
    opened: Store, caplog: pytest.LogCaptureFixture
) -> None:
    insert_messages(opened, new_message("hit@example.com"))
    with opened.connect() as connection:
        message = connection.scalar(sa.select(tables.message.c.id)) or ""

    async def run() -> None:
        buffer = FactBuffer(opened)
        for n in range(7):
            hit = Hit(ids.new(NOW), EventType.CLICKED, NOW, message, 0, "human", url=f"https://shop.example/{n}")
            buffer.add("hit", hit if n != 3 else object())
        await asyncio.wait_for(buffer.flush(), 60)
        await opened.replay_journal()  # on a slow machine they are there

    asyncio.run(run())
    with opened.connect() as connection:
        found = connection.scalars(sa.select(tables.event.c.url).where(tables.event.c.type == EventType.CLICKED))
        assert sorted(found) == [f"https://shop.example/{n}" for n in range(7) if n != 3]
    assert not opened.journal.has_pending
    assert [one.exc_info for one in caplog.records if "fault where=fact id=hit" in one.getMessage()]
    assert [one for one in caplog.records if one.getMessage().startswith("fact-lost kind=hit ")]


@pytest.mark.sqlite  # PostgreSQL keeps malformed JSON out
def test_an_event_that_cannot_be_sent_is_tried_again_and_holds_up_no_other_message(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    with receiving() as receiver:
        receiver.answers["/hook"] = 503
        secret = webhook_signatures.new_secret()
        table = f'[[webhook]]\nurl = "{receiver.url}/hook"\nsecret = "{secret}"\nretry = ["100ms"]\n'
        with Waypost(tmp_path, upstream.port, table) as relay:
            relay.send(html_mail(), "broken-event@example.com")
            [message] = relay.rows("messages", "--query", "broken-event@example.com")
            receiver.wait("/hook")
            relay.sql("UPDATE message SET tags = '{' WHERE id = :id", id=message["id"])
            relay.wait_for_log(" error fault where=webhook ", count=2)  # and not after a whole lease
            receiver.answers["/hook"] = 200
            relay.send(html_mail(), "sound-event@example.com")
            wait_for_webhook(receiver, "sound-event@example.com")
            relay.sql("UPDATE message SET tags = '[]' WHERE id = :id", id=message["id"])
            wait_for_webhook(receiver, "broken-event@example.com")
            assert " database-unavailable " not in relay.read_log()


def wait_for_webhook(receiver: Receiver, recipient: str) -> None:
    """Waits until the receiver has heard of the delivery."""
    until(
        lambda: any(
            one.json["type"] == "delivered" and one.json["recipient"] == recipient for one in receiver.at("/hook")
        ),
        lambda: [one.json for one in receiver.at("/hook")],
    )
