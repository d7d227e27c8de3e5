"""Counts of what waits and of what there is, for metrics and alerts. They are read at most every few seconds.

Every query follows an index of what is still open, except the one that counts suppressions.
"""

import asyncio
import contextlib
import time
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from relay import ids
from relay.store.database import fact_log, tables, webhook_tables
from relay.store.database.tables import Status
from relay.store.queue import leases
from relay.store.store import Store

_MAX_WAIT_S = 3.0


class WebhookGauge(NamedTuple):
    """A webhook: how many requests wait, and whether it accepts them."""

    id: str
    state: str  # as in WebhookRow
    is_failing: bool
    waiting: int


class StoreGauges(NamedTuple):
    """What the database holds now."""

    queue: dict[str, int]  # waiting deliveries by status: queued, deferred; and those that are parked
    oldest: datetime | None  # when the oldest waiting delivery's message was accepted
    oldest_untried: datetime | None  # the same of those without an attempt; an outage of the upstream is no attempt
    suppressions: dict[str, int]  # by reason
    webhooks: list[WebhookGauge]


def read_gauges(connection: sa.Connection) -> StoreGauges:
    """Reads all gauges."""
    delivery = tables.delivery
    waits = delivery.c.next_attempt_at.is_not(None)
    is_parked = sa.and_(waits, tables.has_crashed, delivery.c.crashes >= leases.MAX_CRASHES)
    moves = sa.and_(waits, delivery.c.crashes < leases.MAX_CRASHES)
    by_status = sa.select(delivery.c.status, sa.func.count()).where(moves).group_by(delivery.c.status)
    first = sa.select(sa.func.min(delivery.c.message)).where(waits)
    oldest, untried = connection.scalar(first), connection.scalar(first.where(delivery.c.attempts == 0))
    reason = tables.suppression.c.reason
    return StoreGauges(
        queue={Status.QUEUED: 0, Status.DEFERRED: 0}
        | _counts(connection, by_status)
        | {"parked": connection.scalar(sa.select(sa.func.count()).where(is_parked)) or 0},
        oldest=ids.time_of(oldest) if oldest else None,
        oldest_untried=ids.time_of(untried) if untried else None,
        suppressions=_counts(connection, sa.select(reason, sa.func.count()).group_by(reason)),
        webhooks=_read_webhooks(connection),
    )


def _counts(connection: sa.Connection, statement: "sa.Select[str, int]") -> dict[str, int]:
    return {row[0]: row[1] for row in connection.execute(statement)}


def _read_webhooks(connection: sa.Connection) -> list[WebhookGauge]:
    webhook, queue = webhook_tables.webhook, webhook_tables.webhook_queue
    waiting = sa.select(sa.func.count()).where(queue.c.webhook == webhook.c.id).scalar_subquery()
    wanted = sa.select(webhook.c.id, webhook.c.state, webhook.c.failing_since.is_not(None), waiting)
    rows = connection.execute(wanted.where(webhook.c.state != "gone").order_by(webhook.c.id))
    return [WebhookGauge(id_, state, bool(is_failing), count) for id_, state, is_failing, count in rows]


class GaugeReader:
    """Reads the gauges for all callers: one read at a time, and none while the last result is new enough."""

    def __init__(self, store: Store, max_age_s: float = 10.0) -> None:
        self._store = store
        self._max_age_s = max_age_s
        self._read_task: asyncio.Task[StoreGauges] | None = None
        self._read_at_s = float("-inf")
        self._last_gauges: StoreGauges | None = None

    async def read(self) -> StoreGauges | None:
        """The gauges, at most some seconds old; None while the database does not answer."""
        if time.monotonic() - self._read_at_s < self._max_age_s:
            return self._last_gauges
        if self._read_task is None or self._read_task.done():
            self._read_task = asyncio.ensure_future(self._store.read(read_gauges))
        await asyncio.wait({self._read_task}, timeout=_MAX_WAIT_S)  # no second read beside one that hangs
        if not self._read_task.done() or self._read_task.exception() is not None:
            return None
        self._last_gauges, self._read_at_s = self._read_task.result(), time.monotonic()
        return self._last_gauges


def journal_octets(data_dir: Path) -> int:
    """The size in octets of the journal: facts that are not in the database yet."""
    sizes = 0
    for path in (data_dir / "journal").glob("*"):
        with contextlib.suppress(OSError):  # it was replayed meanwhile
            status = path.stat()
            sizes += 0 if path.suffix == fact_log.SUFFIX else status.st_size  # those are written in any case
    return sizes
