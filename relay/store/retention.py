"""Deletes what has expired: octets first, then messages and events (`[privacy]` of the configuration).

Each call deletes one chunk in one commit, so that the writer's other work does not wait for longer. Counters are
columns of the rows that are deleted. Roll-ups count what happened, whether its mail is still there or not, and are
deleted by their own age.
"""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from relay import ids
from relay.store import events, message_words
from relay.store.database import console_tables, identities, tables, webhook_tables
from relay.store.database.roll_up_tables import roll_up
from relay.store.queue import content_files

MAX_MESSAGES = 1000  # messages a commit, at most
MAX_DELIVERIES = 1000  # of them together: each has an event or more, and attempts
MAX_DELETED = 200  # messages that somebody deletes, a commit
MAX_OCTETS = 8 << 20  # of contents together: what is deleted is overwritten
MAX_PAGES = 2000  # of 4 KiB, given back to the disk in one commit


def drop_content(connection: sa.Connection, before: datetime) -> int:
    """Deletes octets and plans of messages accepted before then, unless a delivery still waits.

    Returns how many; call again until it returns 0.
    """
    kept = tables.content.c.message
    expired = _take_oldest(
        connection,
        _settled_messages(before, tables.message.c.size_octets).join(tables.content, kept == tables.message.c.id),
        MAX_OCTETS,
    )
    content_files.delete_with_rows(connection, expired)
    connection.execute(sa.update(tables.message).where(tables.message.c.id.in_(expired)).values(plan=""))
    return len(expired)


def drop_messages(connection: sa.Connection, before: datetime) -> int:
    """Deletes messages accepted before then with their deliveries and events, unless a delivery still waits.

    Returns how many; call again until it returns 0.
    """
    delivery = tables.delivery
    count = sa.select(sa.func.count()).where(delivery.c.message == tables.message.c.id).scalar_subquery()
    expired = _take_oldest(connection, _settled_messages(before, count), MAX_DELIVERIES)
    _delete_messages(connection, expired)
    return len(expired)


def drop_refused_message(connection: sa.Connection, message: str, leased_by: str = "") -> None:
    """Deletes a message that was stored after its client had got a refusal, unless an attempt is under way. Under the
    lease of that worker, which stored it, none is."""
    table = tables.delivery
    is_under_way = sa.or_(table.c.leased_by.not_in(("", leased_by)), table.c.next_attempt_at.is_(None))
    if not connection.execute(sa.select(table.c.number).where(table.c.message == message, is_under_way)).first():
        events.uncount_events(connection, message)
        _delete_messages(connection, [message])


def delete_messages(connection: sa.Connection, messages: Sequence[str]) -> int:
    """Deletes messages, no more than MAX_DELETED, with all that is known of them. Returns how many there were."""
    table = tables.message
    there = list(connection.scalars(sa.select(table.c.id).where(table.c.id.in_(messages))))
    _delete_messages(connection, there)
    return len(there)


def _delete_messages(connection: sa.Connection, expired: list[str]) -> None:
    message_words.delete_words(connection, expired)
    content_files.delete_with_rows(connection, expired)
    hanging = (
        tables.event,
        tables.attempt,
        tables.delivery,
        webhook_tables.webhook_queue,
        webhook_tables.webhook_log,
        tables.message_label,
    )
    for table in hanging:
        connection.execute(sa.delete(table).where(table.c.message.in_(expired)))
    connection.execute(sa.delete(tables.message).where(tables.message.c.id.in_(expired)))


def drop_roll_ups(connection: sa.Connection, before: datetime) -> int:
    """Deletes the counts of days that had ended by then. Returns how many; 0 when it is called again."""
    day = before.replace(hour=0, minute=0, second=0, microsecond=0)
    return connection.execute(sa.delete(roll_up).where(roll_up.c.start < day)).rowcount


def drop_suppressions(connection: sa.Connection, before: datetime) -> int:
    """Deletes suppressions that expired before then. Returns how many; call again until it returns 0."""
    table = tables.suppression
    expired = sa.select(table.c.id).where(table.c.expires_at < before).limit(MAX_MESSAGES)
    return connection.execute(sa.delete(table).where(table.c.id.in_(expired))).rowcount


def drop_soft_failures(connection: sa.Connection, before: datetime) -> int:
    """Deletes counts of soft failures that nothing was added to since then, as above."""
    table = tables.soft_failure
    expired = sa.select(table.c.address).where(table.c.last_at < before).limit(MAX_MESSAGES)
    return connection.execute(sa.delete(table).where(table.c.address.in_(expired), table.c.last_at < before)).rowcount


def drop_pixel_hits(connection: sa.Connection, before: datetime) -> int:
    """Deletes the log of stand-alone pixels up to then, as above. A pixel's counters stay with it."""
    table = console_tables.pixel_hit
    expired = sa.select(table.c.id).where(table.c.id < ids.lowest_at(before)).limit(MAX_MESSAGES)
    return connection.execute(sa.delete(table).where(table.c.id.in_(expired))).rowcount


def drop_audit_entries(connection: sa.Connection, before: datetime) -> int:
    """Deletes the audit log up to then, as above."""
    table = console_tables.audit_entry
    expired = sa.select(table.c.id).where(table.c.id < ids.lowest_at(before)).limit(MAX_MESSAGES)
    return connection.execute(sa.delete(table).where(table.c.id.in_(expired))).rowcount


def drop_processed_events(connection: sa.Connection, before: datetime) -> int:
    """Deletes ids that no provider will send again, as above; and ids that an earlier version stored in clear."""
    table = tables.processed_provider_event
    is_gone = sa.or_(table.c.at < before, table.c.id.not_like(f"{identities.PSEUDONYM_PREFIX}%"))
    expired = sa.select(table.c.id).where(is_gone).limit(MAX_MESSAGES)
    return connection.execute(sa.delete(table).where(table.c.id.in_(expired))).rowcount


def drop_long_urls(connection: sa.Connection, before: datetime) -> int:
    """Deletes destinations that no mail has been sent with since then, as above."""
    table = tables.destination
    expired = sa.select(table.c.name).where(table.c.used_at < before).limit(MAX_MESSAGES)
    return connection.execute(sa.delete(table).where(table.c.name.in_(expired))).rowcount


def shrink_file(connection: sa.Connection) -> int:
    """Returns a chunk of SQLite's free pages to the disk. Returns how many; call again until it returns 0.

    A database that was made before it could shrink (0 at once, with pages free) does so after one `VACUUM`.
    PostgreSQL's autovacuum does it by itself.
    """
    if connection.dialect.name != "sqlite" or connection.exec_driver_sql("PRAGMA auto_vacuum").scalar() != 2:
        return 0
    free: int = connection.exec_driver_sql("PRAGMA freelist_count").scalar() or 0
    cursor = connection.connection.cursor()
    cursor.execute(f"PRAGMA incremental_vacuum({MAX_PAGES})")
    cursor.fetchall()  # a page for each row without columns, which SQLAlchemy takes for none
    cursor.close()
    left: int = connection.exec_driver_sql("PRAGMA freelist_count").scalar() or 0
    return max(0, free - left)


def _settled_messages(before: datetime, weight: "sa.ColumnElement[int] | sa.ScalarSelect[int]") -> sa.Select[str, int]:
    """Id and weight of messages accepted before then that have no open delivery and no due DSN, the oldest first."""
    table = tables.delivery
    waits = sa.union_all(
        sa.select(table.c.message).where(table.c.next_attempt_at.is_not(None)),
        sa.select(table.c.message).where(tables.has_dsn_due),
    )
    return (
        sa.select(tables.message.c.id, weight)
        .where(tables.message.c.id < ids.lowest_at(before), tables.message.c.id.not_in(waits))
        .order_by(tables.message.c.id)
        .limit(MAX_MESSAGES)
    )


def _take_oldest(connection: sa.Connection, candidates: sa.Select[str, int], most: int) -> list[str]:
    """The first ids, as many as weigh no more than `most` together, but at least one."""
    found: list[str] = []
    for message, weight in connection.execute(candidates):
        most -= weight
        if found and most < 0:
            break
        found.append(message)
    return found
