"""What clients of our SMTP listeners were refused, with the envelope: who, to whom, which reply, when.

In: refusals that the edge has gathered, within its budget a minute.  Out: rows, to be searched; at most MAX_REFUSALS,
for MAX_AGE. Addresses are stored as `[privacy] mode` says.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from relay import ids
from relay.store.database import columns, console_tables, identities, row_pages
from relay.store.database.deletion_steps import share_of
from relay.store.database.identities import IdentityPolicy
from relay.store.database.row_pages import Condition, RowPage

MAX_REFUSALS = 20_000
_MAX_DROPPED = 1_000  # rows a commit
MAX_AGE = timedelta(days=30)
_MAX_TEXT = 320  # characters of a column
_table = console_tables.refusal


class Refusal(NamedTuple):
    """A command that was refused, or a connection. `times` more than 1: so many connections of that peer within a
    minute, or, without a peer, so many commands that were only counted."""

    at: datetime
    ip: str
    user: str  # who had signed in; "" for nobody
    command: str  # MAIL, RCPT, DATA or AUTH; CONNECT, PROXY, TLS, HELO, EHLO or STARTTLS: of a connection
    reverse_path: str
    recipient: str
    code: int  # 0: it got no reply, and `text` says what was wrong
    status: str
    text: str
    times: int = 1


class RefusalFilter(NamedTuple):
    """What a refusal must have, all of it. Empty: every one."""

    text: str = ""  # in sender, recipient, user, IP or reply
    recipient: str = ""  # an address
    sender: str = ""
    code: int = 0
    since: datetime | None = None
    until: datetime | None = None  # before then


def insert_refusals(connection: sa.Connection, refusals: Sequence[Refusal]) -> None:
    """Stores them."""
    policy = identities.policy_for(connection)
    connection.execute(sa.insert(_table), [_row(policy, one) for one in refusals])


def _row(policy: IdentityPolicy, one: Refusal) -> dict[str, object]:
    text = policy.redact_reply(one.code, one.text, one.recipient, is_ours=True)
    if policy.redacts:
        one = one._replace(reverse_path="", ip="", user="", recipient=_recipient(policy, one.recipient))
    clean = {
        name: columns.storable_text(getattr(one, name), _MAX_TEXT)
        for name in ("ip", "user", "reverse_path", "recipient", "status")
    }
    row: dict[str, object] = {"id": ids.new(one.at), "command": one.command, "code": one.code, "count": one.times}
    return row | clean | {"at": one.at, "text": columns.storable_text(text, _MAX_TEXT)}


def _recipient(policy: IdentityPolicy, mailbox: str) -> str:
    return policy.event_recipient(mailbox) if mailbox else ""


def list_refusals(connection: sa.Connection, refusal_filter: RefusalFilter, limit: int, before: str = "") -> RowPage:
    """Refusals, the newest first, beginning before the id `before`. There are no more than MAX_REFUSALS in all."""
    return row_pages.read_newest(connection, _table, _conditions(connection, refusal_filter), limit, before)


def count_refusals(connection: sa.Connection, refusal_filter: RefusalFilter) -> int:
    """How many commands were refused, with those that were only counted."""
    wanted_rows = sa.select(sa.func.sum(_table.c["count"])).where(*_conditions(connection, refusal_filter))
    return int(connection.scalar(wanted_rows) or 0)


def _conditions(connection: sa.Connection, refusal_filter: RefusalFilter) -> list[Condition]:
    conditions = row_pages.time_span(_table.c.id, refusal_filter.since, refusal_filter.until)
    if refusal_filter.recipient:
        conditions.append(_names(connection, _table.c.recipient, refusal_filter.recipient))
    if refusal_filter.sender:
        conditions.append(_names(connection, _table.c.reverse_path, refusal_filter.sender))
    if refusal_filter.text:
        searched = (_table.c.reverse_path, _table.c.recipient, _table.c.user, _table.c.ip, _table.c.text)
        found_in = [column.icontains(refusal_filter.text, autoescape=True) for column in searched]
        conditions.append(sa.or_(*found_in, _names(connection, _table.c.recipient, refusal_filter.text)))
    if refusal_filter.code:
        conditions.append(_table.c.code == refusal_filter.code)
    return conditions


def _is_about(connection: sa.Connection, mailbox: str) -> Condition:
    return sa.or_(*(_names(connection, column, mailbox) for column in (_table.c.recipient, _table.c.reverse_path)))


def _names(connection: sa.Connection, column: sa.ColumnElement[str], mailbox: str) -> Condition:
    names = {mailbox, *identities.policy_for(connection).possible_names(mailbox)}
    return sa.func.lower(column).in_(sorted({name.lower() for name in names}))


def drop_refusals(connection: sa.Connection, before: datetime, share: float = 1.0) -> int:
    """Deletes those up to then, and what exceeds MAX_REFUSALS; `share` of _MAX_DROPPED at a time, at most. Returns how
    many; call again until it is 0."""
    first = connection.scalar(sa.select(_table.c.id).order_by(_table.c.id.desc()).offset(MAX_REFUSALS - 1).limit(1))
    oldest = max(ids.lowest_at(before), first or "")
    expired = sa.select(_table.c.id).where(_table.c.id < oldest).limit(share_of(_MAX_DROPPED, share))
    return connection.execute(sa.delete(_table).where(_table.c.id.in_(expired))).rowcount


def find_about(connection: sa.Connection, mailbox: str) -> Sequence[sa.RowMapping]:
    """What was refused to or from an address, the oldest first."""
    wanted = sa.select(_table).where(_is_about(connection, mailbox)).order_by(_table.c.id)
    return connection.execute(wanted).mappings().all()


def erase_person(connection: sa.Connection, mailbox: str) -> int:
    """Deletes what was refused to or from an address. Returns how many."""
    return connection.execute(sa.delete(_table).where(_is_about(connection, mailbox))).rowcount
