"""Suppressions: addresses that get no mail.

A hard bounce or a complaint suppresses an address for all mail, an unsubscribe for one stream. An entry may
expire; one that has expired does not count. The names of entries are what `identities` gives: addresses, or pseudonyms.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from relay import address
from relay.store.database import identities, tables
from relay.store.database.name_lookup import NameLookup
from relay.suppression_reason import ALL, STREAM, UNSUBSCRIBE

_CHUNK = 500  # SQLite's oldest limit on variables of a statement is 999


class SuppressionEntry(NamedTuple):
    """A suppression, as it is written to a file and read from one. `stream` "" with that scope: the default one."""

    address: str
    scope: str
    stream: str
    reason: str
    evidence: str
    created_at: datetime
    expires_at: datetime | None

    @property
    def key(self) -> tuple[str, str, str]:
        return address.canonical(self.address), self.scope, self.stream


def add_suppression(
    connection: sa.Connection,
    mailbox: str,
    *,
    reason: str,
    at: datetime,
    stream: str | None = None,
    evidence: str = "",
    message: str = "",
    expires_at: datetime | None = None,
) -> bool:
    """Suppresses an address: for one stream, or for all mail. False if it was already, at least as long."""
    scope = ALL if stream is None else STREAM
    entry = SuppressionEntry(mailbox, scope, stream or "", reason, evidence, at, expires_at)
    return add_suppressions(connection, [entry], message=message) == 1


def add_suppressions(connection: sa.Connection, entries: Sequence[SuppressionEntry], *, message: str = "") -> int:
    """Adds many, a few statements for each 500. Returns how many were not known yet.

    An entry that is there stays as it is, unless it would end before the new one does. One without an address is
    left out.
    """
    table, policy = tables.suppression, identities.policy_for(connection)
    added = 0
    for at in range(0, len(entries), _CHUNK):
        new: dict[tuple[str, str, str], SuppressionEntry] = {}
        for entry in entries[at : at + _CHUNK]:
            if not entry.address:
                continue
            if entry.key not in new or _outlasts(entry.expires_at, new[entry.key].expires_at):
                new[entry.key] = entry
        named = policy.canonical_by_name(who for who, _, _ in new)
        there = connection.execute(
            sa.select(table.c.id, table.c.address, table.c.scope, table.c.stream, table.c.expires_at).where(
                table.c.address.in_(named)
            )
        ).all()
        for row in there:
            key = (named[row.address], row.scope, row.stream)
            if key in new and not _outlasts(new[key].expires_at, row.expires_at):
                del new[key]
            elif key in new:  # its place is taken by the one that holds longer
                connection.execute(sa.delete(table).where(table.c.id == row.id))
        if new:
            rows = [
                entry._asdict() | {"address": policy.stored_name(who), "message": message}
                for (who, _, _), entry in new.items()
            ]
            connection.execute(sa.insert(table), rows)
        added += len(new)
    return added


def _outlasts(end: datetime | None, other: datetime | None) -> bool:
    return other is not None and (end is None or end > other)


def remove_suppressions(
    connection: sa.Connection,
    mailbox: str,
    *,
    scope: str | None = None,
    stream: str | None = None,
    reason: str | None = None,
) -> int:
    """Removes suppressions of an address: of one scope, stream or reason, or all. Returns how many."""
    table = tables.suppression
    names = identities.policy_for(connection).possible_names(mailbox)
    gone = sa.delete(table).where(table.c.address.in_(names))
    if scope is not None:
        gone = gone.where(table.c.scope == scope)
    if stream is not None:
        gone = gone.where(table.c.stream == stream)
    if reason is not None:
        gone = gone.where(table.c.reason == reason)
    if (
        scope in (None, ALL) and reason != UNSUBSCRIBE
    ):  # an operator who lifts a bounce also clears the count that led to it
        failures = tables.soft_failure
        connection.execute(sa.delete(failures).where(failures.c.address.in_(names)))
    return connection.execute(gone).rowcount


def remove_many(connection: sa.Connection, mailboxes: Sequence[str], *, stream: str | None = None) -> int:
    """Removes all suppressions of these addresses, or those of one stream. Returns how many."""
    table, failures = tables.suppression, tables.soft_failure
    names = sorted(identities.policy_for(connection).canonical_by_name(mailboxes))
    removed = 0
    for at in range(0, len(names), _CHUNK):
        some = names[at : at + _CHUNK]
        gone = sa.delete(table).where(table.c.address.in_(some))
        removed += connection.execute(gone if stream is None else gone.where(table.c.stream == stream)).rowcount
        connection.execute(sa.delete(failures).where(failures.c.address.in_(some)))  # as above
    return removed


def find_unsubscribed_streams(connection: sa.Connection, mailbox: str, now: datetime) -> set[str | None]:
    """The streams that the address has unsubscribed from; None among them: from all."""
    table = tables.suppression
    query = sa.select(table.c.scope, table.c.stream).where(
        table.c.address.in_(identities.policy_for(connection).possible_names(mailbox)),
        table.c.reason == UNSUBSCRIBE,
        sa.or_(table.c.expires_at.is_(None), table.c.expires_at > now),
    )
    return {None if row.scope == ALL else row.stream for row in connection.execute(query)}


class SuppressionMatch(NamedTuple):
    """What of an entry decides whether it holds mail back."""

    address: str
    scope: str
    stream: str
    reason: str
    expires_at: datetime | None


_ENTRIES = NameLookup(tables.suppression, *SuppressionMatch._fields)


def find_suppressed(
    connection: sa.Connection, mailboxes: Iterable[str], stream: str | None, now: datetime, *, exempt: bool = False
) -> dict[str, str]:
    """Which of the addresses get no mail of that stream, each with the reason, by canonical address.

    Stream None: it is not known yet, and only what holds for all mail counts.

    `exempt`: the stream is not held back by unsubscribes (password resets, receipts).
    """
    entries = find_entries(connection, identities.policy_for(connection).canonical_by_name(mailboxes))
    return suppressed_among(entries, stream, now, exempt=exempt)


def find_entries(connection: sa.Connection, canonical_by_name: Mapping[str, str]) -> dict[str, list[SuppressionMatch]]:
    """All entries under these names, by the canonical address that each stands for."""
    found: dict[str, list[SuppressionMatch]] = {}
    for row in _ENTRIES.find(connection, canonical_by_name):
        found.setdefault(canonical_by_name[row[0]], []).append(SuppressionMatch(*row))
    return found


def suppressed_among(
    entries: Mapping[str, list[SuppressionMatch]], stream: str | None, now: datetime, *, exempt: bool
) -> dict[str, str]:
    """The addresses with entries that get no mail of that stream, with the reason, as `find_suppressed` has it."""
    found: dict[str, str] = {}
    for who, rows in entries.items():
        for row in rows:
            counts = row.scope == ALL or (stream is not None and row.stream == stream)
            if counts and not (exempt and row.reason == UNSUBSCRIBE) and (not row.expires_at or row.expires_at > now):
                found[who] = row.reason
    return found


class SuppressionFilter(NamedTuple):
    """Which entries are listed. Empty: all."""

    address: str = ""  # a whole one
    scope: str = ""
    stream: str = ""
    reason: str = ""
    since: datetime | None = None  # added then or later
    until: datetime | None = None  # added before then


_ALL_ENTRIES = SuppressionFilter()


def list_suppressions(
    connection: sa.Connection,
    limit: int,
    query: str = "",
    after: int = 0,
    entry_filter: SuppressionFilter = _ALL_ENTRIES,
) -> Sequence[sa.RowMapping]:
    """Entries, the newest first; `query` is a part of the address, `after` the last one's id on the page before."""
    table, policy = tables.suppression, identities.policy_for(connection)
    listed = sa.select(table).order_by(table.c.id.desc()).limit(limit)
    if query:
        part = table.c.address.contains(address.canonical(query), autoescape=True)
        listed = listed.where(sa.or_(part, table.c.address.in_(policy.possible_names(query))))
    if entry_filter.address:
        listed = listed.where(table.c.address.in_(policy.possible_names(entry_filter.address)))
    for name in ("scope", "stream", "reason"):
        if value := getattr(entry_filter, name):
            listed = listed.where(table.c[name] == value)
    if entry_filter.since:
        listed = listed.where(table.c.created_at >= entry_filter.since)
    if entry_filter.until:
        listed = listed.where(table.c.created_at < entry_filter.until)
    if after:
        listed = listed.where(table.c.id < after)
    return connection.execute(listed).mappings().all()


def list_of_addresses(connection: sa.Connection, mailboxes: Sequence[str]) -> dict[str, list[sa.RowMapping]]:
    """All entries of these addresses, by the address as it is named here; the newest first. One query for 500."""
    table, policy = tables.suppression, identities.policy_for(connection)
    by_name: dict[str, list[str]] = {}
    for mailbox in mailboxes:
        for name in policy.possible_names(mailbox):
            by_name.setdefault(name, []).append(mailbox)
    names = sorted(by_name)
    found: dict[str, list[sa.RowMapping]] = {}
    for at in range(0, len(names), _CHUNK):
        wanted = sa.select(table).where(table.c.address.in_(names[at : at + _CHUNK])).order_by(table.c.id.desc())
        for row in connection.execute(wanted).mappings():
            for mailbox in by_name[row["address"]]:
                found.setdefault(mailbox, []).append(row)
    return found


def find_by_ids(connection: sa.Connection, ids: Sequence[int]) -> list[SuppressionEntry]:
    """The entries of those rows that are still there."""
    table = tables.suppression
    columns = [table.c[name] for name in SuppressionEntry._fields]
    rows = connection.execute(sa.select(*columns).where(table.c.id.in_(ids)).order_by(table.c.id))
    return [SuppressionEntry(*row) for row in rows]


def list_entries(
    connection: sa.Connection, now: datetime, after: int, limit: int
) -> tuple[list[SuppressionEntry], int]:
    """Those that hold now, in the order in which they came, after the one with that id; and the last one's id."""
    table = tables.suppression
    wanted = (
        sa.select(table.c.id, *(table.c[name] for name in SuppressionEntry._fields))
        .where(table.c.id > after, sa.or_(table.c.expires_at.is_(None), table.c.expires_at > now))
        .order_by(table.c.id)
        .limit(limit)
    )
    rows = connection.execute(wanted).all()
    return [SuppressionEntry(*row[1:]) for row in rows], rows[-1].id if rows else after
