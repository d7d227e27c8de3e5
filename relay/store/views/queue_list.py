"""The queue: lists of deliveries that wait, and counts of them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from relay import ids
from relay.store.database import delivery_rows, row_pages, tables
from relay.store.database.tables import Status
from relay.store.queue import leases
from relay.store.queue.attempts import ATTEMPT_COLUMNS, AttemptDetail
from relay.store.views import message_search

MAX_GROUPED = 20_000  # deliveries that are grouped by upstream: the oldest
AGES = (timedelta(hours=1), timedelta(hours=4), timedelta(days=1))  # limits between young and old mail


class QueueFilter(NamedTuple):
    """A filter of deliveries that wait. Empty: all."""

    recipient: str = ""  # a whole address
    stream: str = ""
    status: Status | None = None
    category: str = ""
    held: bool | None = None
    parked: bool | None = None
    tag: str = ""
    since: datetime | None = None  # accepted then or later
    until: datetime | None = None  # accepted before then


class QueueCursor(NamedTuple):
    """Where a page of the queue ends."""

    due_us: int  # microseconds since 1970
    message: str
    number: int


class QueueEntry(NamedTuple):
    """A delivery that waits."""

    message: str
    number: int
    recipient: str
    author: str
    subject: str
    stream: str
    status: str
    kind: str
    category: str
    accepted_at: datetime
    expires_at: datetime
    attempts: int  # all, also those that say nothing of the delivery because the upstream was out
    next_attempt_at: datetime
    held_at: datetime | None
    is_parked: bool
    is_under_way: bool
    last_attempt: AttemptDetail | None


class QueuePage(NamedTuple):
    """A page of the queue; `next` is None at the end."""

    items: list[QueueEntry]
    next: QueueCursor | None


class QueueTotals(NamedTuple):
    """Counts of deliveries that wait."""

    waiting: int
    due: int  # now, and neither held nor parked
    held: int
    parked: int
    oldest_at: datetime | None  # when the oldest message that waits was accepted


class UpstreamQueue(NamedTuple):
    """Counts of deliveries that wait for an upstream."""

    upstream: str  # of the last attempt; "" where there was none
    waiting: int
    by_age: tuple[int, ...]  # younger than each of AGES, and older than all
    oldest_at: datetime
    last_reply: str  # the last reply or fault of the oldest delivery


def list_queue(
    connection: sa.Connection, queue_filter: QueueFilter, limit: int, now: datetime, after: QueueCursor | None = None
) -> QueuePage:
    """Deliveries that wait, the next due first, after the cursor. It takes two queries."""
    table, message = tables.delivery, tables.message
    due_us = sa.type_coerce(table.c.next_attempt_at, sa.BigInteger)
    names = ("message", "number", "recipient", "status", "kind", "category", "next_attempt_at", "held_at")
    query = (
        sa.select(
            *(table.c[name] for name in (*names, "crashes", "leased_until")),
            *(message.c[name] for name in ("author", "subject", "stream", "accepted_at", "expires_at")),
            due_us.label("due_us"),
        )
        .join(message, message.c.id == table.c.message)
        .where(table.c.next_attempt_at.is_not(None), *_conditions(connection, queue_filter))
        .order_by(table.c.next_attempt_at, table.c.message, table.c.number)
        .limit(limit + 1)
    )
    if after is not None:
        behind = sa.tuple_(table.c.message, table.c.number) > sa.tuple_(*map(sa.literal, after[1:]))
        query = query.where(due_us >= after.due_us, sa.or_(due_us > after.due_us, behind))
    rows = connection.execute(query).mappings().all()
    shown = rows[:limit]
    made = _attempts(connection, [(row["message"], row["number"]) for row in shown])
    entries = [
        QueueEntry(
            **{name: row[name] for name in QueueEntry._fields if name in row},
            is_parked=row["crashes"] >= leases.MAX_CRASHES,
            is_under_way=row["leased_until"] is not None and row["leased_until"] > now,
            attempts=made.get((row["message"], row["number"]), _NO_ATTEMPT).how_many,
            last_attempt=made.get((row["message"], row["number"]), _NO_ATTEMPT).last,
        )
        for row in shown
    ]
    if len(rows) <= limit:
        return QueuePage(entries, None)
    return QueuePage(entries, QueueCursor(shown[-1]["due_us"], shown[-1]["message"], shown[-1]["number"]))


def queue_totals(connection: sa.Connection, now: datetime) -> QueueTotals:
    """Counts what waits, by one query along the index of what waits."""
    table = tables.delivery
    is_parked = table.c.crashes >= leases.MAX_CRASHES
    is_due = sa.and_(table.c.next_attempt_at <= now, table.c.held_at.is_(None), ~is_parked)
    found = connection.execute(
        sa.select(
            sa.func.count().label("waiting"),
            sa.func.count(sa.case((is_due, 1))).label("due"),
            sa.func.count(table.c.held_at).label("held"),
            sa.func.count(sa.case((is_parked, 1))).label("parked"),
            sa.func.min(table.c.message).label("oldest"),
        ).where(table.c.next_attempt_at.is_not(None))
    )
    row = found.mappings().one()
    counts = {name: row[name] for name in ("waiting", "due", "held", "parked")}
    return QueueTotals(**counts, oldest_at=ids.time_of(row["oldest"]) if row["oldest"] else None)


def queue_by_upstream(connection: sa.Connection, now: datetime) -> list[UpstreamQueue]:
    """Counts what waits by the upstream of the last attempt, the largest first."""
    table, attempt = tables.delivery, tables.attempt
    last = (
        sa.select(sa.func.max(attempt.c.id))
        .where(attempt.c.message == table.c.message, attempt.c.number == table.c.number)
        .correlate(table)
        .scalar_subquery()
    )
    waiting = (
        sa.select(table.c.message, last.label("attempt"))
        .where(table.c.next_attempt_at.is_not(None))
        .order_by(table.c.message)
        .limit(MAX_GROUPED)
        .subquery()
    )
    rows = connection.execute(
        sa.select(waiting.c.message, attempt.c.upstream, attempt.c.code, attempt.c.status, attempt.c.text)
        .outerjoin(attempt, attempt.c.id == waiting.c.attempt)
        .order_by(waiting.c.message)
    )
    groups: dict[str, list[tuple[datetime, str]]] = {}
    for message, upstream, *reply in rows:
        words = " ".join(str(one) for one in reply if one)
        groups.setdefault(upstream or "", []).append((ids.time_of(message), words))
    found = [
        UpstreamQueue(upstream, len(group), _count_ages([at for at, _ in group], now), *group[0])
        for upstream, group in groups.items()
    ]
    return sorted(found, key=lambda one: (-one.waiting, one.upstream))


def _count_ages(accepted: Sequence[datetime], now: datetime) -> tuple[int, ...]:
    counts = [0] * (len(AGES) + 1)
    for at in accepted:
        counts[sum(now - at >= age for age in AGES)] += 1
    return tuple(counts)


def _conditions(connection: sa.Connection, queue_filter: QueueFilter) -> list[sa.ColumnElement[bool]]:
    table = tables.delivery
    found: list[sa.ColumnElement[bool]] = []
    if queue_filter.recipient:
        found.append(message_search.matches_recipient(connection, queue_filter.recipient))
    if queue_filter.stream:
        found.append(table.c.stream == queue_filter.stream)
    if queue_filter.status is not None:
        found.append(table.c.status == queue_filter.status)
    if queue_filter.category:
        found.append(table.c.category == queue_filter.category)
    if queue_filter.held is not None:
        found.append(table.c.held_at.is_not(None) if queue_filter.held else table.c.held_at.is_(None))
    if queue_filter.parked is not None:
        is_parked = table.c.crashes >= leases.MAX_CRASHES
        found.append(is_parked if queue_filter.parked else ~is_parked)
    if queue_filter.tag:
        found.append(message_search.has_tag(table.c.message, queue_filter.tag))
    return [*found, *row_pages.time_span(table.c.message, queue_filter.since, queue_filter.until)]


class _Attempts(NamedTuple):
    how_many: int
    last: AttemptDetail | None


_NO_ATTEMPT = _Attempts(0, None)


def _attempts(connection: sa.Connection, keys: list[tuple[str, int]]) -> dict[tuple[str, int], _Attempts]:
    attempt = tables.attempt
    if not keys:
        return {}
    made = (
        sa.select(sa.func.max(attempt.c.id).label("latest"), sa.func.count().label("count"))
        .where(delivery_rows.is_of_delivery(attempt, keys))
        .group_by(attempt.c.message, attempt.c.number)
        .subquery()
    )
    columns = [attempt.c[name] for name in ATTEMPT_COLUMNS]
    rows = connection.execute(
        sa.select(attempt.c.message, attempt.c.number, made.c.count, *columns).join(made, made.c.latest == attempt.c.id)
    )
    return {(message, number): _Attempts(count, AttemptDetail(*values)) for message, number, count, *values in rows}
