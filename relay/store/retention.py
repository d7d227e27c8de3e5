"""Deletes what has expired: octets first, then messages and events (`[privacy]` of the configuration).

Each call deletes one chunk in one commit, because others who write wait for it. `share` is how much of the limits below
a chunk may have: `node.maintenance` adapts it to the time that a chunk takes. Counters are
columns of the rows that are deleted. Roll-ups count what happened, whether its mail is still there or not, and are
deleted by their own age. On PostgreSQL, months of events and attempts that have nothing but expired rows have gone
before, whole (`database.partitions`).
"""

import time
from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from relay import ids
from relay.store import events, message_words
from relay.store.database import console_tables, identities, tables, webhook_tables
from relay.store.database.deletion_steps import share_of
from relay.store.database.roll_up_tables import roll_up
from relay.store.queue import content_files

# Of a chunk whose share is 1: some 20 ms each, on two cores of 2023.
MAX_MESSAGES = 100  # messages a commit, at most
MAX_DELIVERIES = 100  # of them together: each has an event or more, and attempts
MAX_OCTETS = 1 << 20  # of contents together: what is deleted is overwritten
MAX_ROWS = 500  # of a table whose rows stand alone
MAX_DELETED = 200  # messages that somebody deletes, a commit
MAX_SHRINK_S = 0.02
MAX_FREE_SHARE = 0.1  # of SQLite's file: new rows take free pages, so a few may stay


def drop_content(connection: sa.Connection, before: datetime, share: float = 1.0) -> int:
    """Deletes octets and plans of messages accepted before then, unless a delivery still waits.

    Returns how many; call again until it returns 0.
    """
    kept = tables.content.c.message
    candidates = (
        sa.select(kept, tables.message.c.size_octets)
        .join(tables.message, tables.message.c.id == kept)
        .where(kept < ids.lowest_at(before), _is_settled(kept))
        .order_by(kept)
        .limit(share_of(MAX_MESSAGES, share))
    )
    expired = _take_oldest(connection, candidates, share_of(MAX_OCTETS, share))
    content_files.delete_with_rows(connection, expired)
    connection.execute(sa.update(tables.message).where(tables.message.c.id.in_(expired)).values(plan=""))
    return len(expired)


def drop_messages(connection: sa.Connection, before: datetime, share: float = 1.0) -> int:
    """Deletes messages accepted before then with their deliveries and events, unless a delivery still waits.

    Of a message with more deliveries than a chunk may have it deletes that many first. Returns of how many messages it
    deleted something; call again until it returns 0.
    """
    message, delivery = tables.message, tables.delivery
    count = sa.select(sa.func.count()).where(delivery.c.message == message.c.id).scalar_subquery()
    candidates = (
        sa.select(message.c.id, count)
        .where(message.c.id < ids.lowest_at(before), _is_settled(message.c.id))
        .order_by(message.c.id)
        .limit(share_of(MAX_MESSAGES, share))
    )
    most = share_of(MAX_DELIVERIES, share)
    expired = _take_oldest(connection, candidates, most)
    if len(expired) == 1 and _delete_last_deliveries(connection, expired[0], most):
        return 1
    _delete_messages(connection, expired)
    return len(expired)


def _delete_last_deliveries(connection: sa.Connection, message: str, count: int) -> bool:
    """Deletes so many deliveries of a message that has more. False, and nothing, if it has not."""
    delivery = tables.delivery
    least: int | None = connection.scalar(
        sa.select(delivery.c.number)
        .where(delivery.c.message == message)
        .order_by(delivery.c.number.desc())
        .offset(count - 1)
        .limit(1)
    )
    if not least:
        return False
    for table in (tables.event, tables.attempt, delivery):
        connection.execute(sa.delete(table).where(table.c.message == message, table.c.number >= least))
    return True


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


def delete_oldest_messages(connection: sa.Connection) -> int:
    """Deletes the oldest messages, MAX_DELETED at most, with all that belongs to them. Returns how many."""
    table = tables.message
    oldest = list(connection.scalars(sa.select(table.c.id).order_by(table.c.id).limit(MAX_DELETED)))
    _delete_messages(connection, oldest)
    return len(oldest)


def _delete_messages(connection: sa.Connection, messages: list[str]) -> None:
    message_words.delete_words(connection, messages)
    content_files.delete_with_rows(connection, messages)
    hanging = (
        tables.event,
        tables.attempt,
        tables.delivery,
        webhook_tables.webhook_queue,
        webhook_tables.webhook_log,
        tables.message_label,
    )
    for table in hanging:
        connection.execute(sa.delete(table).where(table.c.message.in_(messages)))
    connection.execute(sa.delete(tables.message).where(tables.message.c.id.in_(messages)))


def drop_roll_ups(connection: sa.Connection, before: datetime, share: float = 1.0) -> int:
    """Deletes counts of days that had ended by then, as above."""
    day = before.replace(hour=0, minute=0, second=0, microsecond=0)
    key = list(roll_up.primary_key)
    expired = sa.select(*key).where(roll_up.c.start < day).limit(share_of(MAX_ROWS, share))
    return connection.execute(sa.delete(roll_up).where(sa.tuple_(*key).in_(expired))).rowcount


def drop_suppressions(connection: sa.Connection, before: datetime, share: float = 1.0) -> int:
    """Deletes suppressions that expired before then. Returns how many; call again until it returns 0."""
    table = tables.suppression
    expired = sa.select(table.c.id).where(table.c.expires_at < before).limit(share_of(MAX_ROWS, share))
    return connection.execute(sa.delete(table).where(table.c.id.in_(expired))).rowcount


def drop_soft_failures(connection: sa.Connection, before: datetime, share: float = 1.0) -> int:
    """Deletes counts of soft failures that nothing was added to since then, as above."""
    table = tables.soft_failure
    expired = sa.select(table.c.address).where(table.c.last_at < before).limit(share_of(MAX_ROWS, share))
    return connection.execute(sa.delete(table).where(table.c.address.in_(expired), table.c.last_at < before)).rowcount


def drop_pixel_hits(connection: sa.Connection, before: datetime, share: float = 1.0) -> int:
    """Deletes the log of stand-alone pixels up to then, as above. A pixel's counters stay with it."""
    table = console_tables.pixel_hit
    expired = sa.select(table.c.id).where(table.c.id < ids.lowest_at(before)).limit(share_of(MAX_ROWS, share))
    return connection.execute(sa.delete(table).where(table.c.id.in_(expired))).rowcount


def drop_audit_entries(connection: sa.Connection, before: datetime, share: float = 1.0) -> int:
    """Deletes the audit log up to then, as above."""
    table = console_tables.audit_entry
    expired = sa.select(table.c.id).where(table.c.id < ids.lowest_at(before)).limit(share_of(MAX_ROWS, share))
    return connection.execute(sa.delete(table).where(table.c.id.in_(expired))).rowcount


def drop_processed_events(connection: sa.Connection, before: datetime, share: float = 1.0) -> int:
    """Deletes ids that no provider will send again, as above; and ids that an earlier version stored in clear."""
    table = tables.processed_provider_event
    is_gone = sa.or_(table.c.at < before, table.c.id.not_like(f"{identities.PSEUDONYM_PREFIX}%"))
    expired = sa.select(table.c.id).where(is_gone).limit(share_of(MAX_ROWS, share))
    return connection.execute(sa.delete(table).where(table.c.id.in_(expired))).rowcount


def drop_long_urls(connection: sa.Connection, before: datetime, share: float = 1.0) -> int:
    """Deletes destinations that no mail has been sent with since then, as above."""
    table = tables.destination
    expired = sa.select(table.c.name).where(table.c.used_at < before).limit(share_of(MAX_ROWS, share))
    return connection.execute(sa.delete(table).where(table.c.name.in_(expired))).rowcount


def shrink_file(connection: sa.Connection) -> int:
    """Returns free pages of SQLite's file to the disk for MAX_SHRINK_S, down to MAX_FREE_SHARE of the file. Returns how
    many; call again until it returns 0.

    A database that was made before it could shrink (0 at once, with pages free) does so after one `VACUUM`.
    PostgreSQL's autovacuum does it by itself.
    """
    if connection.dialect.name != "sqlite" or _read_pragma(connection, "auto_vacuum") != 2:
        return 0
    free, pages = _read_pragma(connection, "freelist_count"), _read_pragma(connection, "page_count")
    spare = int((free - MAX_FREE_SHARE * pages) / (1 - MAX_FREE_SHARE))
    returned, until_s = 0, time.monotonic() + MAX_SHRINK_S
    cursor = connection.connection.cursor()
    while returned < spare and time.monotonic() < until_s:
        cursor.execute("PRAGMA incremental_vacuum(1)")  # of more pages, Python's driver would return one as well
        returned += 1
    cursor.close()
    return returned


def _read_pragma(connection: sa.Connection, name: str) -> int:
    value: int = connection.exec_driver_sql(f"PRAGMA {name}").scalar() or 0
    return value


def _is_settled(message: "sa.ColumnElement[str]") -> "sa.ColumnElement[bool]":
    """That the message has no open delivery and no due DSN."""
    table = tables.delivery
    waits = sa.or_(table.c.next_attempt_at.is_not(None), tables.has_dsn_due)
    # Not NOT EXISTS: PostgreSQL would join with all deliveries there are (20 ms of 100,000) for each 100 messages.
    waiting = sa.select(sa.func.count()).where(table.c.message == message, waits).correlate_except(table)
    return waiting.scalar_subquery() == 0


def _take_oldest(connection: sa.Connection, candidates: sa.Select[str, int], max_weight: int) -> list[str]:
    """The first ids, as many as weigh no more than `max_weight` together, but at least one."""
    found: list[str] = []
    for message, weight in connection.execute(candidates):
        max_weight -= weight
        if found and max_weight < 0:
            break
        found.append(message)
    return found
