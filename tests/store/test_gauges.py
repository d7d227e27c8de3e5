"""What waits, as metrics and alerts read it, on either database."""

import asyncio
import threading
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa

from relay.store.database import tables, webhook_tables
from relay.store.database.tables import Status
from relay.store.queue import leases
from relay.store.recipients import suppressions
from relay.store.store import Store
from relay.store.views import gauges
from relay.store.views.gauges import GaugeReader, WebhookGauge
from tests.message_factory import NOW, insert_messages, new_message


def write(opened: Store, *statements: sa.Executable) -> None:
    opened.writer.submit(lambda connection: [connection.execute(one) for one in statements]).result(60)


def read(opened: Store) -> gauges.StoreGauges:
    with opened.connect() as connection:
        return gauges.read_gauges(connection)


def test_an_empty_store_has_zeros(opened: Store) -> None:
    found = read(opened)
    assert found.queue == {"queued": 0, "deferred": 0, "parked": 0}
    assert (found.oldest, found.oldest_untried, found.suppressions, found.webhooks) == (None, None, {}, [])


def test_waiting_mail_is_counted_and_its_age_known(opened: Store) -> None:
    early, late = NOW - timedelta(hours=3), NOW - timedelta(hours=1)
    insert_messages(
        opened,
        new_message("a@example.com", "b@example.com", at=early, status=Status.DEFERRED),
        new_message("c@example.com", at=late),
        new_message("d@example.com", at=NOW - timedelta(days=9), status=Status.DELIVERED),
        new_message("e@example.com", at=NOW),
    )
    delivery = tables.delivery
    write(opened, sa.update(delivery).where(delivery.c.status == Status.DEFERRED).values(attempts=2))
    with opened.connect() as connection:
        key = connection.execute(
            sa.select(delivery.c.message, delivery.c.number).where(delivery.c.recipient == "e@example.com")
        ).one()
    opened.writer.submit(lambda connection: leases.park_delivery(connection, leases.DeliveryKey(*key))).result(60)
    found = read(opened)
    assert found.queue == {"queued": 1, "deferred": 2, "parked": 1}
    assert found.oldest == early and found.oldest_untried == late


def test_suppressions_and_webhooks_are_counted(opened: Store) -> None:
    def suppress(connection: sa.Connection) -> None:
        for n, reason in enumerate(("manual", "manual", "complaint")):
            suppressions.add_suppression(connection, f"{n}@example.com", at=NOW, reason=reason)

    opened.writer.submit(suppress).result(60)
    webhook, queue = webhook_tables.webhook, webhook_tables.webhook_queue
    rows = [("a", "on", None), ("b", "on", NOW), ("c", "disabled", NOW), ("d", "gone", None)]
    common = {"url": "https://a.example/", "events": ["*"], "format": "waypost", "machines": False, "created_at": NOW}
    common |= {"secret": "", "old_secret": "", "source": "database", "reason": ""}
    for key, state, failing in rows:
        write(opened, sa.insert(webhook).values(id=key, state=state, failing_since=failing, **common))
    waiting = {"webhook": "b", "message": "m", "attempts": 0, "next_attempt_at": NOW, "leased_by": ""}
    write(opened, *(sa.insert(queue).values(event=event, **waiting) for event in ("1", "2")))
    found = read(opened)
    assert found.suppressions == {"manual": 2, "complaint": 1}
    assert found.webhooks == [
        WebhookGauge("a", "on", False, 0),
        WebhookGauge("b", "on", True, 2),
        WebhookGauge("c", "disabled", True, 0),
    ]


def test_a_read_that_hangs_is_begun_once_and_gives_nothing(tmp_path: Path) -> None:
    begun, go_on = [], threading.Event()

    class Hanging:
        async def read(self, _: object) -> None:
            begun.append(1)
            await asyncio.to_thread(go_on.wait)
            raise sa.exc.OperationalError("", {}, Exception())

    async def ask() -> list[object]:
        reader = GaugeReader(Hanging())  # type: ignore[arg-type]
        answers: list[object] = [await reader.read(), await reader.read()]
        go_on.set()
        return answers

    assert asyncio.run(ask()) == [None, None]
    assert len(begun) == 1
