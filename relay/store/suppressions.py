"""Whom not to write to, and who does not want to be tracked.

A hard bounce or a complaint suppresses an address for all mail, an unsubscribe for one stream.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

import sqlalchemy as sa

from relay import address
from relay.store import tables

ALL, STREAM = "all", "stream"
UNSUBSCRIBE = "unsubscribe"
_CHUNK = 500  # SQLite's oldest limit on variables of a statement is 999


def add(
    session: sa.Connection,
    mailbox: str,
    *,
    reason: str,
    at: datetime,
    stream: str | None = None,
    evidence: str = "",
    message: str = "",
) -> bool:
    """Suppresses an address: for one stream, or for all mail. False if it was already."""
    table = tables.suppression
    scope = ALL if stream is None else STREAM
    row = {"address": address.canonical(mailbox), "scope": scope, "stream": stream or ""}
    if session.scalar(sa.select(table.c.id).filter_by(**row)):
        return False
    session.execute(
        sa.insert(table),
        row | {"reason": reason, "evidence": evidence, "message": message, "created_at": at, "expires_at": None},
    )
    return True


def remove(
    session: sa.Connection,
    mailbox: str,
    *,
    scope: str | None = None,
    stream: str | None = None,
    reason: str | None = None,
) -> int:
    """Lets mail to an address flow again: of one scope, stream or reason, or of all. Returns how many entries went."""
    table = tables.suppression
    gone = sa.delete(table).where(table.c.address == address.canonical(mailbox))
    if scope is not None:
        gone = gone.where(table.c.scope == scope)
    if stream is not None:
        gone = gone.where(table.c.stream == stream)
    if reason is not None:
        gone = gone.where(table.c.reason == reason)
    return session.execute(gone).rowcount


def find(
    session: sa.Connection, mailboxes: Iterable[str], stream: str, now: datetime, *, exempt: bool = False
) -> dict[str, str]:
    """Which of the addresses get no mail of that stream, each with the reason, by canonical address.

    `exempt`: the stream is not held back by unsubscribes (password resets, receipts).
    """
    table = tables.suppression
    wanted = sorted({address.canonical(mailbox) for mailbox in mailboxes})
    found: dict[str, str] = {}
    for at in range(0, len(wanted), _CHUNK):
        query = sa.select(table.c.address, table.c.reason).where(
            table.c.address.in_(wanted[at : at + _CHUNK]),
            sa.or_(table.c.scope == ALL, table.c.stream == stream),
            sa.or_(table.c.expires_at.is_(None), table.c.expires_at > now),
        )
        if exempt:
            query = query.where(table.c.reason != UNSUBSCRIBE)
        found.update({row.address: row.reason for row in session.execute(query)})
    return found


def listing(session: sa.Connection, limit: int, query: str = "", after: int = 0) -> Sequence[sa.RowMapping]:
    """Entries, the newest first; `after` is the id of the last one of the page before."""
    table = tables.suppression
    wanted = sa.select(table).order_by(table.c.id.desc()).limit(limit)
    if query:
        wanted = wanted.where(table.c.address.contains(address.canonical(query), autoescape=True))
    if after:
        wanted = wanted.where(table.c.id < after)
    return session.execute(wanted).mappings().all()


def untrack(session: sa.Connection, mailbox: str, at: datetime) -> None:
    """Notes that an address asked not to be tracked; also holds for mail already sent."""
    table = tables.untracked
    who = address.canonical(mailbox)
    if not session.scalar(sa.select(table.c.address).where(table.c.address == who)):
        session.execute(sa.insert(table), {"address": who, "asked_at": at})


def untracked(session: sa.Connection, mailboxes: Iterable[str]) -> set[str]:
    """Which of the addresses asked not to be tracked, as canonical addresses."""
    table = tables.untracked
    wanted = sorted({address.canonical(mailbox) for mailbox in mailboxes})
    found: set[str] = set()
    for at in range(0, len(wanted), _CHUNK):
        query = sa.select(table.c.address).where(table.c.address.in_(wanted[at : at + _CHUNK]))
        found.update(session.scalars(query))
    return found
