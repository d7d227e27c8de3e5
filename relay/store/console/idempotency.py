"""Answers to writes with an Idempotency-Key, so that a repeated write is done once.

In: digests of a key and of the request that came with it.  Out: the answer that the first such request got. Answers are
kept for a day. draft-ietf-httpapi-idempotency-key-header.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from relay.store.database import console_tables

KEEP = timedelta(days=1)
_MAX_WORK = timedelta(minutes=2)  # after that the process that worked on it is gone
_MAX_DELETED = 100  # a call


class StoredAnswer(NamedTuple):
    """An answer to a request; status 0: there is none yet."""

    request: str
    status: int
    headers: dict[str, str]
    body: bytes


def begin_write(connection: sa.Connection, digest: str, request: str, now: datetime) -> StoredAnswer | None:
    """Notes that the request is worked on, and returns None; or returns what is known of an earlier one."""
    table = console_tables.idempotent_answer
    old = sa.select(table.c.digest).where(table.c.at < now - KEEP).limit(_MAX_DELETED)
    connection.execute(sa.delete(table).where(table.c.digest.in_(old)))
    row = connection.execute(sa.select(table).where(table.c.digest == digest)).mappings().first()
    if row is not None and (row["status"] or row["at"] > now - _MAX_WORK):
        return StoredAnswer(row["request"], row["status"], row["headers"], row["body"])
    if row is not None:
        forget_write(connection, digest)
    blank = {"digest": digest, "request": request, "at": now, "status": 0, "headers": {}, "body": b""}
    connection.execute(sa.insert(table), blank)
    return None


def finish_write(connection: sa.Connection, digest: str, answer: StoredAnswer) -> None:
    """Stores the answer."""
    table = console_tables.idempotent_answer
    connection.execute(
        sa.update(table)
        .where(table.c.digest == digest)
        .values(status=answer.status, headers=answer.headers, body=answer.body)
    )


def forget_write(connection: sa.Connection, digest: str) -> None:
    """The request was not done: it may come again."""
    table = console_tables.idempotent_answer
    connection.execute(sa.delete(table).where(table.c.digest == digest))
