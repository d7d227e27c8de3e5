"""What has expired goes: octets first, then messages and events (`[privacy]` of the configuration)."""

from datetime import datetime

import sqlalchemy as sa

from relay import ids
from relay.store import tables

BATCH = 1000  # rows a commit: the writer's other work waits no longer than that takes


def drop_suppressions(session: sa.Connection, before: datetime) -> int:
    """Deletes suppressions that expired before then. Returns how many; call again until it returns 0."""
    table = tables.suppression
    gone = sa.select(table.c.id).where(table.c.expires_at < before).limit(BATCH)
    return session.execute(sa.delete(table).where(table.c.id.in_(gone))).rowcount


def drop_strikes(session: sa.Connection, before: datetime) -> int:
    """Deletes counts of soft failures that nothing was added to since then, as above."""
    table = tables.strike
    gone = sa.select(table.c.address).where(table.c.last_at < before).limit(BATCH)
    return session.execute(sa.delete(table).where(table.c.address.in_(gone), table.c.last_at < before)).rowcount


def drop_content(session: sa.Connection, before: datetime) -> int:
    """Deletes octets and plans of messages accepted before then, unless a delivery still waits.

    Returns how many; call again until it returns 0.
    """
    waits = sa.select(tables.delivery.c.message).where(tables.delivery.c.next_attempt_at.is_not(None))
    old = (
        sa.select(tables.message.c.id)
        .join(tables.content, tables.content.c.message == tables.message.c.id)
        .where(tables.message.c.id < ids.first(before), tables.message.c.id.not_in(waits))
        .limit(BATCH)
    )
    gone = list(session.scalars(old))
    session.execute(sa.delete(tables.content).where(tables.content.c.message.in_(gone)))
    session.execute(sa.update(tables.message).where(tables.message.c.id.in_(gone)).values(plan=""))
    return len(gone)


def drop_messages(session: sa.Connection, before: datetime) -> int:
    """Deletes messages accepted before then with all that hangs on them, unless a delivery still waits.

    Returns how many; call again until it returns 0.
    """
    waits = sa.select(tables.delivery.c.message).where(tables.delivery.c.next_attempt_at.is_not(None))
    old = (
        sa.select(tables.message.c.id)
        .where(tables.message.c.id < ids.first(before), tables.message.c.id.not_in(waits))
        .limit(BATCH)
    )
    gone = list(session.scalars(old))
    for table in (tables.event, tables.attempt, tables.delivery, tables.content):
        session.execute(sa.delete(table).where(table.c.message.in_(gone)))
    session.execute(sa.delete(tables.message).where(tables.message.c.id.in_(gone)))
    return len(gone)
