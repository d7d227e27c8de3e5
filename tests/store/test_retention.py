"""What is kept goes when its time is over: in chunks, with the space, and without a wrong count."""

import os
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from relay import ids
from relay.event_type import EventType
from relay.node import maintenance
from relay.store import retention
from relay.store.database import roll_ups, tables
from relay.store.database.rows import Delivery, Message
from relay.store.database.tables import Status
from relay.store.queue import deliveries, queue_facts
from relay.store.store import Store
from relay.store.tracking import hits
from relay.store.tracking.hit_facts import Hit
from relay.store.views import message_list, statistics
from tests.message_factory import count_rows
from tests.store.retention_steps import NOW, in_steps

OLD = NOW - timedelta(days=30)


def file(opened: Store, at: datetime, recipients: int = 1, octets: int = 10, status: Status = Status.DELIVERED) -> str:
    made = ids.from_parts(int(at.timestamp() * 1000), os.urandom(6))
    message = Message(id=made, accepted_at=at, expires_at=at + timedelta(days=5), plan="{}", size_octets=octets)
    due = at if status.is_open else None
    rows = [
        Delivery(message=made, number=n, recipient=f"{n}@example.com", status=status, next_attempt_at=due)
        for n in range(recipients)
    ]
    all_outcomes = (
        []
        if status.is_open
        else [queue_facts.Outcome(ids.new(), n, rows[n].recipient, status, at) for n in range(recipients)]
    )
    new_message = queue_facts.NewMessage(message, os.urandom(octets), rows, all_outcomes)
    opened.writer.submit(lambda connection: deliveries.insert_message(connection, new_message)).result(60)
    return made


def test_messages_go_in_chunks_by_how_much_hangs_on_them(opened: Store) -> None:
    for n, recipients in enumerate((700, 700, 1, 1, 1)):
        file(opened, OLD + timedelta(seconds=n), recipients)
    kept = file(opened, NOW, 3)
    waits = file(opened, OLD, 2, status=Status.DEFERRED)
    assert in_steps(opened, retention.drop_messages) == [1] * 14 + [3]  # never more than 100 deliveries together
    with opened.connect() as connection:
        assert set(connection.scalars(sa.select(tables.message.c.id))) == {kept, waits}
    for table in (tables.delivery, tables.event, tables.content):
        with opened.connect() as connection:
            assert set(connection.scalars(sa.select(table.c.message))) <= {kept, waits}


def test_contents_go_in_chunks_by_their_size(opened: Store) -> None:
    for octets in (5 << 20, 5 << 20, 9 << 20, 1, 1):
        file(opened, OLD, octets=octets)
    steps = in_steps(opened, retention.drop_content)
    assert sum(steps) == 5 and len(steps) >= 3  # 1 MB together, or one that is larger
    assert (count_rows(opened, tables.content), count_rows(opened, tables.message)) == (0, 5)


@pytest.mark.parametrize("share", [0.001, 0.25, 2.0])
def test_a_step_has_its_share_of_the_limits_and_never_nothing(opened: Store, share: float) -> None:
    for n in range(30):
        file(opened, OLD + timedelta(seconds=n))
    file(opened, OLD, recipients=60)
    opened.writer.submit(roll_ups.fold, begins_commit=True).result(60)
    drops = (retention.drop_content, retention.drop_messages, retention.drop_roll_ups)
    steps = [in_steps(opened, partial(drop, share=share)) for drop in drops]
    assert all(steps) and sum(steps[0]) == 31
    assert count_rows(opened, tables.message) == count_rows(opened, tables.event) == 0
    at_most = max(1, int(retention.MAX_MESSAGES * share))
    assert max(steps[0] + steps[1]) <= at_most and (share < 1 or steps[0] == [31])


@pytest.mark.parametrize("takes_s", [0.0001, 0.02, 0.2, 30.0])
def test_a_step_grows_or_shrinks_until_it_takes_as_long_as_others_may_wait(takes_s: float) -> None:
    share = 0.25  # of a step that would take that long whole
    for _ in range(20):
        share = maintenance.next_share(share, takes_s * share)
    assert share * takes_s == pytest.approx(0.02) or share == (2.0 if takes_s < 1 else 0.01)


def test_what_stays_still_adds_up(opened: Store) -> None:
    old, new = file(opened, OLD), file(opened, NOW, 2)
    for message, number in ((old, 0), (new, 0), (new, 1), (new, 1)):
        hit = Hit(ids.new(), EventType.OPENED, NOW, message, number, "human")
        opened.writer.submit(partial(hits.record_hit, hit=hit)).result(60)
    before = _seen(opened)[new]
    assert in_steps(opened, retention.drop_messages) == [1]
    assert _seen(opened) == {new: before} and before == 3
    with opened.connect() as connection:
        found = statistics.read_totals(connection, statistics.Selection(NOW - timedelta(days=1)))
        assert (found.opens.human, found.opened_by) == (4, 3)  # what happened, whether its mail is still there or not
        assert connection.scalar(sa.select(sa.func.sum(tables.delivery.c.opens_human))) == 3


def _seen(opened: Store) -> dict[str, int]:
    with opened.connect() as connection:
        return {line.id: line.opens.human for line in message_list.list_messages(connection, 10).items}


def test_the_disk_gets_its_space_back(opened: Store, tmp_path: Path) -> None:
    path = tmp_path / "waypost.db"
    for _ in range(4):
        file(opened, OLD, octets=2 << 20)
    in_steps(opened, retention.drop_content)
    if not path.exists():  # PostgreSQL does it by itself
        assert opened.writer.submit(retention.shrink_file).result(60) == 0
        return
    opened.checkpoint()
    before = path.stat().st_size
    steps: list[int] = []
    while returned := opened.writer.submit(retention.shrink_file).result(60):
        steps.append(returned)
    opened.checkpoint()
    assert before > 8 << 20 and path.stat().st_size < 1 << 20
    assert max(steps) > 1 and sum(steps) * 4096 > 7 << 20  # each is a commit, so it gives more than a page
