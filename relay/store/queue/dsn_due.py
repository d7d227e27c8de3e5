"""DSNs that are due.

The commit that records an outcome marks its DSN as due (`delivery.dsn_due`). Another commit puts the DSN into the queue
and clears the mark, so that a crash neither loses nor doubles it. Recipients that fail together are in one DSN.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from relay.store.database import delivery_rows, identities, tables
from relay.store.database.rows import Delivery, Message
from relay.store.database.tables import Status
from relay.store.queue import deliveries, redaction
from relay.store.queue.attempts import ATTEMPT_COLUMNS, AttemptDetail
from relay.store.queue.queue_facts import NewMessage

MAX_WAIT_FOR_OTHERS = timedelta(minutes=1)  # for the message's other recipients


class DueDsn(NamedTuple):
    """A recipient that the DSN is about. Without an attempt, the delivery expired or was dropped before one."""

    delivery: Delivery
    attempt: AttemptDetail | None


def requested_conditions(notify: str) -> list[str]:
    """The conditions (FAILURE, DELAY, SUCCESS) that this NOTIFY value asks for. RFC 3461 §4.1: by default failures."""
    return notify.upper().split(",") if notify else ["FAILURE"]


ComposeDsn = Callable[[Message, bytes | None, list[DueDsn]], NewMessage]


def find_messages_with_due_dsn(
    connection: sa.Connection, now: datetime, set_aside: Sequence[str] = (), limit: int = 1000
) -> list[str]:
    """Returns messages whose DSN is to be sent now: no attempt at them is under way, or it takes too long. Leaves out
    those that are `set_aside`."""
    table, other = tables.delivery, tables.delivery.alias("other")
    busy = sa.exists().where(
        other.c.message == table.c.message,
        other.c.next_attempt_at.is_not(None),
        sa.or_(other.c.leased_by != "", other.c.status == Status.QUEUED),
    )
    due = sa.select(table.c.message).where(
        tables.has_dsn_due, sa.or_(~busy, table.c.settled_at < now - MAX_WAIT_FOR_OTHERS)
    )
    due = due.where(table.c.message.not_in(set_aside)) if set_aside else due
    return list(dict.fromkeys(connection.scalars(due.limit(limit))))


def queue_due_dsn(connection: sa.Connection, message_id: str, compose: ComposeDsn) -> int:
    """Puts the message's due DSN into the queue and clears the marks. Returns how many recipients it is about."""
    table = tables.delivery
    mine = (table.c.message == message_id, tables.has_dsn_due)
    rows = connection.execute(sa.select(table).where(*mine).order_by(table.c.number).with_for_update(skip_locked=True))
    due = [DueDsn(row, _last_attempt(connection, row)) for row in (Delivery(**found) for found in rows.mappings())]
    message = deliveries.find_message(connection, message_id)
    if not due or message is None:
        return 0
    deliveries.insert_message(connection, compose(message, deliveries.find_content(connection, message_id), due))
    policy = identities.policy_for(connection)
    forgotten: list[str] = []
    for row in (one.delivery for one in due):
        change = {"dsn_sent": row.dsn_due, "dsn_due": ""}
        if policy.redacts and not Status(row.status).is_open:
            forgotten.append(row.recipient)
            change |= {"recipient": policy.event_recipient(row.recipient), "orcpt": ""}
        delivery_rows.update_delivery(connection, message_id, row.number, **change)
    if forgotten:
        redaction.clear_envelope(connection, message_id, forgotten)
    return len(due)


def _last_attempt(connection: sa.Connection, row: Delivery) -> AttemptDetail | None:
    attempt = tables.attempt
    found = connection.execute(
        sa.select(*(attempt.c[name] for name in ATTEMPT_COLUMNS))
        .where(attempt.c.message == row.message, attempt.c.number == row.number)
        .order_by(attempt.c.id.desc())
        .limit(1)
    ).first()
    return AttemptDetail(*found) if found else None
