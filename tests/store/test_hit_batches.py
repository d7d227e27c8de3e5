"""Hits that are recorded together leave the same behind as hits that are recorded one after the other.

Whatever hits, in whatever batches: the same events, counters and roll-ups.
"""

import random
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from relay import ids
from relay.event_type import EventType
from relay.store.database import roll_ups, tables
from relay.store.database.delivery_rows import UnknownDeliveryError
from relay.store.database.roll_up_tables import roll_up
from relay.store.database.tables import Status
from relay.store.queue import deliveries, outcomes, queue_facts
from relay.store.queue.queue_facts import AttemptRecord, Outcome
from relay.store.recipients import consent
from relay.store.recipients.consent import ConsentChange
from relay.store.store import Store
from relay.store.tracking import hit_batches, hits, verdicts
from relay.store.tracking.hit_facts import Hit
from tests import sqlite_file
from tests.message_factory import NOW, new_message
from tests.user_agents import PHONE

DESKTOP = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"
RECIPIENTS = ("ann@example.com", "bob@example.org", "eve@bücher.example", "quiet@example.com")


def some_hits(chance: random.Random, message: str) -> list[Hit]:
    """Hits of one message: early ones, bursts of clicks, two visitors, repeats, and what is no delivery's."""
    made: list[Hit] = []
    for _ in range(chance.randrange(4, 40)):
        at = NOW + timedelta(seconds=chance.choice((-5.0, 1.0, 3.0, 60.0, 61.0, 3600.0)) + chance.random())
        type_ = chance.choice((EventType.OPENED, EventType.OPENED, EventType.CLICKED, EventType.UNSUBSCRIBED))
        number = chance.choice((0, 0, 1, 1, 2, 3, None if type_ is not EventType.UNSUBSCRIBED else 0))
        verdict = chance.choice(("human", "human", "machine", "unknown"))
        link = chance.randrange(1, 5) if type_ is EventType.CLICKED else 0
        seen: dict[str, Any] = {"url": f"https://a.example/{link}" if link else "", "link": link}
        seen |= chance.choice(
            ({"ip": "198.51.100.0", "user_agent": PHONE}, {"ip": "203.0.113.0", "user_agent": DESKTOP})
        )
        reasons = ("scanner:x",) if verdict == "machine" else ()
        made.append(Hit(ids.new(at), type_, at, message, number, verdict, reasons, **seen))
    made.sort(key=lambda hit: hit.at)
    return [*made, chance.choice(made)]  # one comes twice


def prepare(opened: Store, new: queue_facts.NewMessage) -> None:
    def work(connection: sa.Connection) -> None:
        deliveries.insert_message(connection, new)
        attempt = AttemptRecord("up", "dot", 250, "2.0.0", "", 1)
        settled = [
            Outcome(f"{n:019d}0", n, who, Status.DELIVERED, NOW, attempt=attempt) for n, who in enumerate(RECIPIENTS)
        ]
        outcomes.record_outcomes(connection, new.message.id, settled)
        consent.change_consent(connection, ConsentChange([RECIPIENTS[3]], NOW, is_yes=False, source=consent.RECIPIENT))

    opened.writer.submit(work).result(60)


def state(opened: Store) -> dict[str, list[Any]]:  # Any: rows
    opened.writer.submit(roll_ups.fold, begins_commit=True).result(60)
    left_out = {"id"}
    found: dict[str, list[Any]] = {}
    with opened.connect() as connection:
        for table, keys in ((tables.event, ("id",)), (tables.delivery, ("number",)), (tables.message, ("id",))):
            rows = connection.execute(sa.select(table).order_by(*(table.c[key] for key in keys))).mappings()
            found[table.name] = [
                {k: v for k, v in row.items() if table is tables.event or k not in left_out} for row in rows
            ]
        counted = connection.execute(sa.select(roll_up)).mappings()
        found["roll_up"] = sorted((tuple(row.values()) for row in counted if row["count"]), key=str)
    return found


def record(opened: Store, batches: Sequence[Sequence[Hit]], *, together: bool) -> None:
    for batch in batches:

        def work(connection: sa.Connection, batch: Sequence[Hit] = batch) -> None:
            with verdicts.judged_once_per_batch(connection):
                if together:
                    hit_batches.record_hits(connection, batch)
                else:
                    for hit in batch:
                        hits.record_hit(connection, hit)

        opened.writer.submit(work).result(60)


@pytest.mark.parametrize("seed", range(12))
def test_together_or_one_after_the_other_the_same_is_stored(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    new = new_message(*RECIPIENTS, stream="news")
    made = some_hits(chance, new.message.id)
    cuts = sorted(chance.sample(range(len(made)), 2))
    batches = [made[: cuts[0]], made[cuts[0] : cuts[1]], made[cuts[1] :]]
    states = []
    for together in (False, True):
        folder = tmp_path / str(together)
        folder.mkdir()
        url = sqlite_file.make_database_with_tables(folder)
        opened = Store(url, folder)
        prepare(opened, new)
        record(opened, batches, together=together)
        states.append(state(opened))
        opened.close()
    assert states[0] == states[1]
    assert states[0]["event"] and states[0]["roll_up"]


def test_of_a_message_that_is_not_there_yet_nothing_is_recorded(opened: Store) -> None:
    there, missing = new_message("ann@example.com"), new_message("bob@example.com")
    opened.writer.submit(partial(deliveries.insert_message, new=there)).result(60)
    made = [Hit(ids.new(NOW), EventType.OPENED, NOW, one.message.id, 0, "human") for one in (there, missing)]
    with pytest.raises(UnknownDeliveryError):
        opened.writer.submit(partial(hit_batches.record_hits, batch=made)).result(60)
    with opened.connect() as connection:
        assert not connection.scalar(sa.select(sa.func.count()).where(tables.event.c.type == "opened"))
