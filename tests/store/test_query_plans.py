"""What a mail, a hit and a list cost does not grow with the store: SQLite looks through no table for them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from relay import ids
from relay.event_type import EventType
from relay.store.database.tables import Status
from relay.store.queue import deliveries, leases, outcomes
from relay.store.queue.queue_facts import AttemptRecord, Outcome, OutcomesFact
from relay.store.store import Store
from relay.store.tracking import hits, reclassification
from relay.store.tracking.hit_facts import Hit
from relay.store.views import event_list, message_detail, queue_list, statistics
from relay.store.views.event_list import EventSearch
from relay.store.views.queue_list import QueueFilter
from tests import sqlite_file
from tests.message_factory import NOW, insert_messages, new_message

_SCAN = re.compile(r"SCAN (message|delivery|attempt|event|content)\b")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    url = sqlite_file.make_database_with_tables(tmp_path)
    one = Store(url, tmp_path)
    yield one
    one.close()


@contextmanager
def statements(connection: sa.Connection) -> Iterator[list[str]]:
    """What SQLite executes meanwhile, with its parameters filled in."""
    found: list[str] = []

    def note(statement: str) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE")):
            found.append(statement)

    driver: Any = connection.connection.dbapi_connection  # SQLite's
    driver.set_trace_callback(note)
    yield found
    driver.set_trace_callback(None)


def scans(connection: sa.Connection, work: Any) -> list[str]:
    """The steps in which a table is looked through."""
    with statements(connection) as found:
        work(connection)
    assert found
    steps = []
    for statement in found:
        for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}"):
            if _SCAN.search(row[3]):
                steps.append(f"{row[3]}: {statement}")
    return steps


def test_a_mail_and_a_hit_look_through_no_table(store: Store) -> None:
    some = [new_message("ann@example.com", "bob@example.com") for _ in range(3)]
    insert_messages(store, *some)

    def settle(connection: sa.Connection) -> None:
        attempt = AttemptRecord("up", "dot", 250, "2.0.0", "ok", 1)
        facts = [
            OutcomesFact(
                one.message.id,
                [Outcome(ids.new(NOW), n, "", Status.DELIVERED, NOW, attempt=attempt) for n in (0, 1)],
            )
            for one in some
        ]
        outcomes.record_all_outcomes(connection, facts)

    def open_(connection: sa.Connection) -> None:
        for n in range(2):
            hit = Hit(ids.new(NOW), EventType.OPENED, NOW, some[0].message.id, n, "human")
            hits.record_hit(connection, hit)

    clock = leases.LeaseClock(NOW, NOW)
    work = (
        partial(deliveries.insert_messages, many=[new_message("eve@example.com") for _ in range(2)]),
        partial(leases.lease_due, clock=clock, until=NOW + timedelta(minutes=1), worker="w", limit=5),
        settle,
        open_,
    )
    for one in work:
        assert store.writer.submit(partial(scans, work=one)).result(60) == []


def test_a_list_looks_through_no_table_for_what_stands_beside_its_rows(store: Store) -> None:
    some = [new_message("ann@example.com", *(f"{n}@example.com" for n in range(3))) for _ in range(3)]
    insert_messages(store, *some)
    found = [one.message.id for one in some]
    lists = (
        lambda connection: queue_list.list_queue(connection, QueueFilter(), 2, NOW),
        lambda connection: queue_list.queue_totals(connection, NOW),
        lambda connection: message_detail.read_messages(connection, found, recipients=["2@example.com"]),
        lambda connection: event_list.list_events(connection, EventSearch(message=found[0]), 5),
        lambda connection: statistics.read_totals(connection, statistics.Selection(NOW)),
        lambda connection: reclassification.review_hits(connection, None, (found[0], 0)),
    )
    with store.connect() as connection:
        for one in lists:
            assert scans(connection, one) == []
