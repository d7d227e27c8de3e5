"""Whose turn it is, who holds what, and what an operator can do: on both databases, and at the command line."""

import operator
import os
import signal
from collections import Counter
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from relay import ids
from relay.store.database import tables
from relay.store.database.tables import Status
from relay.store.queue import dsn_due, leases, outcomes, queue_actions
from relay.store.queue.queue_facts import AttemptRecord, Outcome
from relay.store.store import Store
from tests.message_factory import NOW, count_rows, insert_messages, new_message
from tests.upstream import ScriptedUpstream
from tests.waiting import until
from tests.waypost_server import Waypost, html_mail

MINUTE = timedelta(minutes=1)


def lease(opened: Store, worker: str, limit: int, now: datetime = NOW, **more: Any) -> Counter[str]:
    """How many deliveries of which message are leased, by the name of its first recipient."""
    found = opened.writer.submit(
        lambda connection: leases.lease_due(
            connection, leases.LeaseClock(now, now), now + MINUTE, worker, limit, **more
        )
    ).result(60)
    with opened.connect() as connection:
        rows = connection.execute(sa.select(tables.message.c.id, tables.message.c.subject))
        names = {one.id: one.subject for one in rows}
    return Counter({names[message]: len(rows) for message, rows in found.items()})


def outcome(status: Status, at: datetime = NOW, number: int = 0, code: int = 250) -> Outcome:
    again = at + 5 * MINUTE if status.is_open else None
    tried = AttemptRecord("up", "dot", code, "", str(status), 3)
    return Outcome(ids.new(), number, "x@example.com", status, at, attempt=tried, next_attempt_at=again)


def record(opened: Store, message: str, *results: Outcome, worker: str = "a") -> None:
    opened.writer.submit(lambda connection: outcomes.record_outcomes(connection, message, results, worker)).result(60)


def row(opened: Store, message: str) -> sa.RowMapping:
    with opened.connect() as connection:
        return connection.execute(sa.select(tables.delivery).filter_by(message=message, number=0)).mappings().one()


# --- whose turn it is


def test_a_large_mailing_does_not_hold_up_another_stream(opened: Store) -> None:
    mailing = [new_message(f"news-{n}", *(f"{n}.{m}@x.example" for m in range(99)), stream="news") for n in range(5)]
    insert_messages(opened, *mailing, new_message("reset", at=NOW + MINUTE, stream="transactional"))
    leased = lease(opened, "a", 8, NOW + MINUTE)
    assert leased["reset"] == 1 and leased.total() == 8


def test_what_came_last_does_not_wait_for_a_mailing_of_its_own_stream(opened: Store) -> None:
    insert_messages(opened, *(new_message(f"news-{n}") for n in range(50)), new_message("reset", at=NOW + MINUTE))
    assert lease(opened, "a", 4, NOW + MINUTE)["reset"] == 1


def test_the_messages_of_a_stream_take_turns(opened: Store) -> None:
    many = [f"{n}@x.example" for n in range(20)]
    insert_messages(
        opened,
        new_message("large", *many),
        new_message("few", *many[:3]),
        new_message("newest", *many, at=NOW + MINUTE),
    )
    assert lease(opened, "a", 6, NOW + MINUTE) == {"large": 1, "few": 1, "newest": 4}


def test_one_stream_leaves_room_for_the_others(opened: Store) -> None:
    insert_messages(
        opened,
        *(new_message(f"news-{n}", stream="news") for n in range(10)),
        new_message("reset", stream="transactional"),
    )
    assert lease(opened, "a", 10, stream_limit=4).total() == 5
    assert lease(opened, "a", 10, stream_limit=6, held_by_stream={"news": 4}).total() == 2


def test_where_there_is_room_for_one_it_goes_to_the_stream_that_holds_least_then_to_the_newest(opened: Store) -> None:
    insert_messages(opened, *(new_message(f"news-{n}", stream="news", at=NOW + n * MINUTE) for n in range(9)))
    insert_messages(opened, new_message("reset", stream="transactional", at=NOW + 9 * MINUTE))
    now = NOW + 10 * MINUTE
    assert lease(opened, "a", 1, now) == {"news-0": 1}
    assert lease(opened, "a", 1, now, held_by_stream={"news": 1}) == {"reset": 1}
    assert lease(opened, "a", 1, now, newest_first=True) == {"news-8": 1}


@pytest.mark.parametrize("opened", ["sqlite"], indirect=True)
def test_looking_for_work_follows_the_indexes_however_much_waits(opened: Store) -> None:
    seen: list[tuple[str, Any]] = []
    insert_messages(opened, new_message("one"), new_message("two", stream="news"))
    with opened.connect() as connection:

        def note(_connection: object, _cursor: object, statement: str, values: object, *_: object) -> None:
            seen.append((statement, values))

        sa.event.listen(connection, "before_cursor_execute", note)
        clock = leases.LeaseClock(NOW, NOW)
        assert leases.has_due(connection, clock)
        leases._crash_suspect(connection, clock)
        dsn_due.find_messages_with_due_dsn(connection, NOW)
        list(leases._select_in_turn(connection, clock, "news", 10, 200, False))
        leases.has_expired(connection, clock)
        sa.event.remove(connection, "before_cursor_execute", note)
        plans = [
            [str(step[3]) for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
            for statement, values in seen
        ]
    assert len(plans) == 6
    assert "delivery_crashed (crashes=?)" in plans[1][0] and "delivery_dsn_due (dsn_due=?)" in plans[2][0]
    for plan in plans:
        steps = [step for step in plan if "delivery" in step or "other" in step or "due" in step]
        assert steps and all("USING INDEX" in step or "USING COVERING INDEX" in step for step in steps), plan
    for plan in plans[1:]:
        assert not any("TEMP B-TREE" in step for step in plan), plan


# --- who holds what


def test_a_lease_that_is_renewed_is_kept_and_another_workers_is_not_touched(opened: Store) -> None:
    one, other = new_message("one"), new_message("other")
    insert_messages(opened, one)
    assert lease(opened, "a", 5) == {"one": 1}
    insert_messages(opened, other)
    assert lease(opened, "b", 5) == {"other": 1}
    until = NOW + 10 * MINUTE
    both = [one.message.id, other.message.id]
    opened.writer.submit(lambda connection: leases.renew_leases(connection, "a", both, until)).result(60)
    assert lease(opened, "c", 5, NOW + 2 * MINUTE) == {"other": 1}


def test_an_outcome_after_a_takeover_is_an_attempt_and_no_more(opened: Store) -> None:
    one = new_message("late")
    insert_messages(opened, one)
    lease(opened, "a", 1)
    lease(opened, "b", 1, NOW + 2 * MINUTE)
    late = outcome(Status.DEFERRED, NOW + 3 * MINUTE, code=451)
    for _ in range(2):
        record(opened, one.message.id, late, worker="a")
    assert row(opened, one.message.id)["leased_by"] == "b" and row(opened, one.message.id)["status"] == "queued"
    assert (count_rows(opened, tables.attempt), count_rows(opened, tables.event)) == (1, 1)
    record(opened, one.message.id, outcome(Status.DELIVERED, NOW + 4 * MINUTE), worker="b")
    record(opened, one.message.id, outcome(Status.BOUNCED, NOW + 5 * MINUTE, code=550), worker="a")
    assert row(opened, one.message.id)["status"] == "delivered" and count_rows(opened, tables.attempt) == 3


def test_a_delivery_wins_over_what_was_recorded_meanwhile(opened: Store) -> None:
    for n, first in enumerate((Status.DEFERRED, Status.BOUNCED, Status.EXPIRED)):
        one = new_message(f"wins-{n}")
        insert_messages(opened, one)
        lease(opened, "a", 1)
        record(opened, one.message.id, outcome(first, NOW + 2 * MINUTE), worker="b" if first.is_open else "a")
        record(opened, one.message.id, outcome(Status.DELIVERED, NOW + 3 * MINUTE), worker="a")
        found = row(opened, one.message.id)
        assert (found["status"], found["next_attempt_at"], found["leased_by"]) == ("delivered", None, "")


def test_replayed_late_an_outcome_does_not_turn_the_clock_back(opened: Store) -> None:
    one = new_message("replayed")
    insert_messages(opened, one)
    lease(opened, "a", 1)
    record(opened, one.message.id, newer := outcome(Status.DEFERRED, NOW + 9 * MINUTE, code=451))
    record(opened, one.message.id, outcome(Status.DEFERRED, NOW + MINUTE, code=451))
    assert row(opened, one.message.id)["next_attempt_at"] == newer.next_attempt_at
    assert count_rows(opened, tables.attempt) == 2


# --- what ends processes


def test_after_three_crashes_it_is_parked_and_what_was_beside_it_is_not(opened: Store) -> None:
    poison = new_message("poison")
    insert_messages(opened, poison, *(new_message(f"beside-{n}") for n in range(5)))

    def crash() -> list[leases.DeliveryKey]:
        return opened.writer.submit(lambda connection: leases.release_after_crash(connection, "a")).result(60)

    for _ in range(2):
        assert lease(opened, "a", 10).total() == 6 and crash() == []
    for _ in range(6):  # each is tried alone now, and those that do no harm go
        [name] = lease(opened, "a", 10)
        assert lease(opened, "a", 10, with_suspect=False).total() == 0
        if name == "poison":
            assert crash() == [(poison.message.id, 0)]
        else:
            with opened.connect() as connection:
                mine = connection.scalar(sa.select(tables.message.c.id).filter_by(subject=name))
            record(opened, str(mine), outcome(Status.DEFERRED, NOW, code=451))
    found = row(opened, poison.message.id)
    assert (found["crashes"], found["status"]) == (leases.MAX_CRASHES, "queued")
    assert not lease(opened, "a", 10, NOW + MINUTE)["poison"]
    target = queue_actions.QueueTarget(poison.message.id, None)
    opened.writer.submit(lambda connection: queue_actions.retry(connection, NOW, target)).result(60)
    assert lease(opened, "b", 10)["poison"] == 1


def test_mail_that_ends_its_process_three_times_is_parked_until_an_operator_retries_it(tmp_path: Path) -> None:
    upstream = ScriptedUpstream()
    try:
        with Waypost(tmp_path, upstream.port, '[delivery]\nmode = "queued"\nretry = ["1s"]\n') as relay:
            assert relay.send(html_mail(), "hang@example.com").startswith("250")
            for _ in range(leases.MAX_CRASHES):
                holder = until(lambda: leased_by(relay))
                mail = holder.split("/")[2]
                assert int(mail) in relay.children()
                os.kill(int(mail), signal.SIGKILL)
                until(lambda: leased_by(relay), fits=partial(operator.ne, holder))
            relay.wait_for_log(" delivery-parked ")
            assert relay.send(html_mail(), "next@example.com").startswith("250") and upstream.to("next@example.com")
            [row] = relay.wait_for_rows("queue", "list", fits=lambda rows: len(rows) == 1)
            assert row["parked"] and not row["under_way"] and row["recipient"] == "hang@example.com"
            assert f"delivery-parked message={row['message']} number=0 crashes=3" in relay.read_log()
            assert relay.cli("queue", "retry", "--all") == b"0 due now\n"
            assert relay.cli("queue", "retry", row["id"]) == b"1 due now\n"
            assert until(lambda: leased_by(relay))
            assert relay.cli("queue", "drop", row["id"]).startswith(b"1 dropped\n1 of them are being attempted")
    finally:
        upstream.close()


def leased_by(relay: Waypost) -> str:
    [(holder,)] = relay.sql("SELECT leased_by FROM delivery WHERE next_attempt_at IS NOT NULL")
    return str(holder)


# --- at the command line


def test_what_waits_is_shown_with_its_attempts_and_dropped_without_a_word_unless_asked(
    relay: Waypost, upstream: ScriptedUpstream
) -> None:
    mail = html_mail(header="X-Waypost-Expires-In: soon\r\n")
    recipients = [f"e451-4.3.0+{name}@example.com" for name in ("shown", "second")]
    for _ in range(2):
        assert relay.send(mail, *recipients, sender="operator@sender.test").startswith("250")
    waiting = [row for row in relay.rows("queue", "list") if row["recipient"] == recipients[0]]
    silent, told = (row["message"] for row in waiting)
    [shown] = relay.rows("queue", "show", silent)
    assert shown["reasons"] == ["bad_expires_in"] and shown["reverse_path"] == "operator@sender.test"
    assert [one["recipient"] for one in shown["deliveries"]] == recipients
    assert shown["deliveries"][0]["attempts"][0]["text"] == "scripted" and not shown["deliveries"][0]["parked"]

    assert relay.cli("queue", "drop", f"{silent}.1").startswith(b"1 dropped\n")
    assert relay.cli("queue", "drop", silent).startswith(b"1 dropped\n")
    assert b"a DSN goes to the reverse-path, for 2\n" in relay.cli("queue", "drop", told, "--notify")
    [shown] = relay.rows("queue", "show", f"{silent}.1")
    assert {(row["status"], row["category"]) for row in shown["deliveries"]} == {("expired", "dropped")}
    [arrived] = upstream.to("operator@sender.test")
    assert b"took the message out" in arrived.octets.replace(b"=\r\n", b"")
    for words in (("retry", silent), ("show", "06gvq2rnm5t2k7i09b50.x")):
        assert relay.cli("queue", *words, status=1).startswith(b"waypost: ")


def test_what_is_held_is_not_attempted_until_it_is_released(relay: Waypost, upstream: ScriptedUpstream) -> None:
    recipient = "e451-4.3.0+held@example.com"
    assert relay.send(html_mail(), recipient).startswith("250")
    message = relay.rows("queue", "list", "--recipient", recipient)[0]["message"]
    assert relay.cli("queue", "hold", message) == b"1 held\n"
    [held] = relay.rows("queue", "list", "--held")
    assert held["recipient"] == recipient and held["held_at"] and held["next_attempt_at"] == held["expires_at"]
    tried = len(relay.rows("queue", "show", message)[0]["deliveries"][0]["attempts"])
    assert relay.cli("queue", "release", f"{message}.0") == b"1 due now\n"
    assert relay.rows("queue", "list", "--held") == []
    relay.wait_for_rows("queue", "show", message, fits=lambda rows: len(rows[0]["deliveries"][0]["attempts"]) > tried)
    assert b"nothing of" in relay.cli("queue", "release", message, status=1)
    assert relay.cli("queue", "drop", message).startswith(b"1 dropped\n")
