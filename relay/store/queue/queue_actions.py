"""What operators do with mail that waits: have it tried now, hold it, release it, or drop it.

In: a message, or one of its deliveries.  Out: how many deliveries that was. A delivery that is held is not attempted
until it is released, or until it expires: its next attempt is set to that time. Who attempts it just now loses its
lease, but may have sent it already.
"""

from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from relay import ids
from relay.store.database import columns, notifications, tables
from relay.store.database.rows import Delivery, Message
from relay.store.database.tables import Status
from relay.store.queue import deliveries, dsn_due, leases, outcomes
from relay.store.queue.queue_facts import Outcome

DROPPED = "dropped"  # the category of what an operator took out of the queue
_FAILED = "failed"  # the DSN about it


class QueueTarget(NamedTuple):
    """A message in the queue, or one of its deliveries."""

    message: str
    number: int | None  # None: all of the message's


class DropResult(NamedTuple):
    """How many deliveries were dropped; of these, attempted just now; of these, with a DSN to the reverse-path."""

    dropped: int
    under_way: int
    notified: int


def parse_target(text: str) -> QueueTarget:
    """The message's id, or that, a dot and a number. Raises ValueError."""
    message, dot, number = text.partition(".")
    ids.to_octets(message)
    if dot and not (number.isascii() and number.isdecimal() and len(number) <= 9):
        raise ValueError("no number of a delivery")
    return QueueTarget(message, int(number) if dot else None)


def retry(connection: sa.Connection, now: datetime, target: QueueTarget) -> int:
    """Makes waiting deliveries due now, also where they are parked or held."""
    return _update(connection, target, next_attempt_at=now, held_at=None, crashes=0)


def retry_all(connection: sa.Connection, now: datetime) -> int:
    """The same for all that wait, but for those that are parked or held."""
    table = tables.delivery
    due = sa.update(table).where(
        table.c.next_attempt_at.is_not(None), table.c.crashes < leases.MAX_CRASHES, table.c.held_at.is_(None)
    )
    notifications.notify(connection, notifications.QUEUE)
    return connection.execute(due.values(next_attempt_at=now)).rowcount


def hold(connection: sa.Connection, now: datetime, target: QueueTarget) -> int:
    """Holds waiting deliveries."""
    message = tables.message
    expires_at = sa.select(message.c.expires_at).where(message.c.id == target.message).scalar_subquery()
    return _update(
        connection,
        target,
        next_attempt_at=expires_at,
        held_at=sa.func.coalesce(tables.delivery.c.held_at, sa.literal(now, columns.UtcTime)),
        leased_by="",
        leased_until=None,
    )


def release(connection: sa.Connection, now: datetime, target: QueueTarget) -> int:
    """Releases held deliveries: they are due now."""
    return _update(connection, target, tables.delivery.c.held_at.is_not(None), next_attempt_at=now, held_at=None)


def drop(connection: sa.Connection, now: datetime, target: QueueTarget, *, sends_dsn: bool = False) -> DropResult:
    """Gives waiting deliveries up: they expire now, with the category DROPPED. With `sends_dsn` the reverse-path gets a
    DSN, if the mail is of a kind whose sender reads these, and did not ask for none."""
    message = deliveries.find_message(connection, target.message)
    rows = [row for row in deliveries.list_deliveries(connection, *target) if Status(row.status).is_open]
    if message is None or not rows:
        return DropResult(0, 0, 0)
    dropped = [_outcome(row, message, now, sends_dsn=sends_dsn) for row in rows]
    outcomes.record_outcomes(connection, target.message, dropped)
    under_way = sum(row.leased_until is not None and row.leased_until > now for row in rows)
    return DropResult(len(rows), under_way, sum(bool(one.dsn_due) for one in dropped))


def _outcome(row: Delivery, message: Message, now: datetime, *, sends_dsn: bool) -> Outcome:
    is_wanted = (
        message.accepts_dsn and bool(message.reverse_path) and "FAILURE" in dsn_due.requested_conditions(row.notify)
    )
    return Outcome(
        ids.new(now), row.number, row.recipient, Status.EXPIRED, now,
        kind="none", category=DROPPED, rule="operator", tracked=row.tracked,
        dsn_due=_FAILED if sends_dsn and is_wanted else "",
    )  # fmt: skip


def _update(
    connection: sa.Connection, target: QueueTarget, *conditions: sa.ColumnElement[bool], **values: object
) -> int:
    """Changes the target's waiting deliveries; returns how many."""
    table = tables.delivery
    theirs = sa.update(table).where(
        table.c.message == target.message, table.c.next_attempt_at.is_not(None), *conditions
    )
    if target.number is not None:
        theirs = theirs.where(table.c.number == target.number)
    notifications.notify(connection, notifications.QUEUE)
    return connection.execute(theirs.values(**values)).rowcount
