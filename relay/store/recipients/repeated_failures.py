"""Soft failures that count as hard if they are repeated: a mailbox that is disabled, and a day later still is.

In: how a delivery ended.  Out: the same, or judged hard. A delivery in between clears the count; it is asked
for when it matters, so that mail that arrives costs nothing.
"""

from datetime import datetime, timedelta

import sqlalchemy as sa

from relay import address
from relay.store.database import tables
from relay.store.database.tables import Status

COUNTED_CATEGORIES = frozenset({"mailbox_disabled"})
MIN_INTERVAL = timedelta(days=1)
_MIN_PROOF_AGE = timedelta(hours=1)  # a 250 that is younger proves nothing: a bounce may be on its way


def is_repeated(connection: sa.Connection, mailbox: str, category: str, at: datetime, message: str) -> bool:
    """Counts a delivery, of that message, that failed softly for good. True if the address failed so a day or more ago
    as well and nothing was delivered to it since; the count then starts again."""
    table = tables.soft_failure
    who = address.canonical(mailbox)
    mine = sa.and_(table.c.address == who, table.c.category == category)
    before = connection.execute(sa.select(table.c.first_at, table.c.last_at).where(mine)).first()
    if before is None:
        connection.execute(sa.insert(table), {"address": who, "category": category, "first_at": at, "last_at": at})
        return False
    arrived = tables.delivery
    proves = sa.and_(
        arrived.c.settled_at > before.last_at, arrived.c.settled_at < at - _MIN_PROOF_AGE, arrived.c.message != message
    )
    if _was_delivered(connection, {mailbox, who}, proves):
        connection.execute(sa.update(table).where(mine).values(first_at=at, last_at=at))
        return False
    is_again: bool = at - before.first_at >= MIN_INTERVAL
    connection.execute(sa.update(table).where(mine).values(last_at=max(at, before.last_at)))
    return is_again


def _was_delivered(connection: sa.Connection, mailboxes: set[str], condition: sa.ColumnElement[bool]) -> bool:
    table = tables.delivery
    found = sa.select(table.c.message).where(
        tables.lower_recipient.in_(map(sa.func.lower, mailboxes)), table.c.status == Status.DELIVERED, condition
    )
    return connection.execute(found.limit(1)).first() is not None
