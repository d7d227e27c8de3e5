"""Mail whose client got 451 is not sent afterwards, even if the database has it."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from relay.store import retention
from relay.store.database import tables
from relay.store.database.write_job import Job
from relay.store.queue import deliveries, leases
from relay.store.queue.queue_facts import NewMessage
from relay.store.store import Store
from tests.message_factory import NOW, count_rows, new_message


def _wait(has_begun: threading.Event, may_end: threading.Event) -> None:
    has_begun.set()
    may_end.wait(60)


def _submit(opened: Store, one: NewMessage, before: Callable[[], object] = lambda: None) -> Job[None]:
    def file(connection: sa.Connection) -> None:
        before()
        deliveries.insert_message(connection, one)

    return opened.writer.submit(
        file, undo=lambda connection: retention.drop_refused_message(connection, one.message.id)
    )


def _lease(opened: Store) -> Job[dict[str, Any]]:
    return opened.writer.submit(
        lambda connection: leases.lease_due(
            connection, leases.LeaseClock(NOW, NOW), NOW + timedelta(minutes=3), "me", 10
        ),
        begins_commit=True,
    )


def test_what_is_withdrawn_while_it_is_committed_is_gone_before_anybody_looks(opened: Store) -> None:
    has_begun, may_end = threading.Event(), threading.Event()
    filed = _submit(opened, new_message("late@example.com"), lambda: _wait(has_begun, may_end))
    assert has_begun.wait(60)
    beside = _submit(opened, new_message("beside@example.com"))
    not_begun = _submit(opened, new_message("not-begun@example.com"))
    leased = _lease(opened)
    assert opened.writer.withdraw(filed) and opened.writer.withdraw(not_begun)
    may_end.set()
    beside.result(60)
    assert len(leased.result(60)) == 1
    assert not opened.writer.withdraw(beside)  # it is decided
    for table in (tables.message, tables.delivery, tables.content, tables.event):
        assert count_rows(opened, table) == 1


def test_in_one_commit_with_its_lease_it_is_gone_as_well(opened: Store) -> None:
    may_begin, has_begun, may_end = threading.Event(), threading.Event(), threading.Event()
    opened.writer.submit(lambda _: may_begin.wait(60))
    filed = _submit(opened, new_message("late@example.com"), lambda: _wait(has_begun, may_end))
    leased = _lease(opened)
    may_begin.set()
    assert has_begun.wait(60) and opened.writer.withdraw(filed)
    may_end.set()
    assert leased.result(60) == {}
    assert count_rows(opened, tables.message) == 0


def test_a_commit_that_was_made_and_failed_is_taken_back(opened: Store) -> None:
    failures = [sa.exc.OperationalError("COMMIT", None, ConnectionError("gone"))]

    def commit_and_fail(connection: sa.Connection) -> None:
        if failures:
            driver: Any = connection.connection.driver_connection  # of either database
            driver.execute("COMMIT")
            raise failures.pop()

    sa.event.listen(opened._write_engine, "commit", commit_and_fail)
    with pytest.raises(sa.exc.OperationalError):
        _submit(opened, new_message("unsure@example.com")).result(60)
    assert _lease(opened).result(60) == {}
    assert count_rows(opened, tables.message) == 0


def test_what_somebody_else_has_leased_already_stays(opened: Store) -> None:
    one = new_message("sent@example.com")
    _submit(opened, one).result(60)
    assert _lease(opened).result(60)
    opened.writer.submit(lambda connection: retention.drop_refused_message(connection, one.message.id)).result(60)
    assert count_rows(opened, tables.delivery) == 1
