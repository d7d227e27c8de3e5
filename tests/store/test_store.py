"""What is kept: one writer, facts once, and nothing longer than it should be."""

import asyncio
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from relay import ids
from relay.store import retention
from relay.store.database import tables
from relay.store.database.tables import Status
from relay.store.database.write_job import Job
from relay.store.queue import leases, outcomes, queue_facts
from relay.store.recipients import suppressions
from relay.store.store import Store
from tests.message_factory import NOW, count_rows, insert_messages, new_message


def test_work_that_fails_is_undone_alone(opened: Store) -> None:
    def fails(connection: sa.Connection) -> None:
        suppressions.add_suppression(connection, "half@example.com", reason="manual", at=NOW)
        raise KeyError("mine")

    done: list[Job[Any]] = []
    for n in range(20):
        if n % 5 == 2:
            done.append(opened.writer.submit(fails))
        else:
            done.append(
                opened.writer.submit(
                    partial(suppressions.add_suppression, mailbox=f"{n}@example.com", reason="manual", at=NOW)
                )
            )
    for n, future in enumerate(done):
        if n % 5 == 2:
            with pytest.raises(KeyError):
                future.result(60)
        else:
            assert future.result(60) is True
    with opened.connect() as connection:
        assert len(suppressions.list_suppressions(connection, 100)) == 16
        assert not suppressions.find_suppressed(connection, ["half@example.com"], "", NOW)


def test_work_that_nobody_waits_for_any_more_does_not_end_the_writer(opened: Store) -> None:
    async def impatient() -> None:
        for _ in range(50):
            work = asyncio.ensure_future(opened.write(lambda connection: "late"))
            await asyncio.sleep(0)
            work.cancel()
        assert await opened.write(lambda connection: "alive") == "alive"

    asyncio.run(impatient())


def test_a_message_and_an_outcome_that_are_stored_twice_change_nothing(opened: Store) -> None:
    one = new_message("twice@example.com")
    outcome = queue_facts.Outcome(
        ids.new(), 0, "twice@example.com", Status.BOUNCED, NOW, kind="hard", category="user_unknown",
        attempt=queue_facts.AttemptRecord("up", "rcpt", 550, "5.1.1", "no", 3), suppress=True,
    )  # fmt: skip
    for _ in range(2):
        insert_messages(opened, one)
        opened.writer.submit(lambda connection: outcomes.record_outcomes(connection, one.message.id, [outcome])).result(
            10
        )
    assert (
        count_rows(opened, tables.message),
        count_rows(opened, tables.event),
        count_rows(opened, tables.attempt),
    ) == (1, 2, 1)
    with opened.connect() as connection:
        [row] = connection.execute(sa.select(tables.delivery)).mappings()
        assert (row["status"], row["attempts"], row["next_attempt_at"]) == ("bounced", 1, None)
        [held] = suppressions.list_suppressions(connection, 10)
        assert (held["reason"], held["evidence"]) == ("hard_bounce", "550 5.1.1 no")


def test_a_leased_delivery_is_leased_to_nobody_else_until_the_lease_lapses(opened: Store) -> None:
    insert_messages(opened, *(new_message(f"{n}@example.com") for n in range(5)))

    def lease(worker: str, now: datetime) -> int:
        until = now + timedelta(minutes=1)
        return len(
            opened.writer.submit(
                lambda connection: leases.lease_due(connection, leases.LeaseClock(now, now), until, worker, 3)
            ).result(60)
        )

    assert [lease("a", NOW), lease("b", NOW), lease("c", NOW)] == [3, 2, 0]
    assert lease("c", NOW + timedelta(minutes=2)) == 3
    opened.writer.submit(lambda connection: leases.release_leases(connection, "c")).result(60)
    assert lease("d", NOW + timedelta(minutes=2)) == 3


def test_an_unsubscribe_holds_for_its_stream_and_a_dead_address_for_all(opened: Store) -> None:
    def add(connection: sa.Connection) -> None:
        suppressions.add_suppression(connection, "Ann@Example.com", reason="unsubscribe", at=NOW, stream="news")
        suppressions.add_suppression(connection, "dead@example.com", reason="hard_bounce", at=NOW)

    opened.writer.submit(add).result(60)
    both = ["ann@example.COM", "dead@example.com"]
    with opened.connect() as connection:
        assert set(suppressions.find_suppressed(connection, both, "news", NOW)) == {
            "ann@example.com",
            "dead@example.com",
        }
        assert set(suppressions.find_suppressed(connection, both, "other", NOW)) == {"dead@example.com"}
        assert set(suppressions.find_suppressed(connection, both, "news", NOW, exempt=True)) == {"dead@example.com"}


def test_what_has_expired_goes_and_what_still_waits_stays(opened: Store) -> None:
    old = NOW - timedelta(days=30)
    insert_messages(
        opened,
        new_message("old@example.com", status=Status.DELIVERED, at=old),
        new_message("waits@example.com", status=Status.DEFERRED, at=old),
        new_message("new@example.com", status=Status.DELIVERED),
    )
    before = NOW - timedelta(days=7)
    assert opened.writer.submit(lambda connection: retention.drop_content(connection, before)).result(60) == 1
    assert (count_rows(opened, tables.content), count_rows(opened, tables.message)) == (2, 3)
    assert opened.writer.submit(lambda connection: retention.drop_messages(connection, before)).result(60) == 1
    assert (count_rows(opened, tables.message), count_rows(opened, tables.delivery)) == (2, 2)
    with opened.connect() as connection:
        assert set(connection.scalars(sa.select(tables.message.c.subject))) == {"waits@example.com", "new@example.com"}
