"""Who changed what: an entry for each change that an account, an API key or the command line makes.

In: a change and who makes it.  Out: the change and its entry, in one commit. An entry has no secret, and no more of a
recipient than the address that was acted on, stored as `[privacy] mode` says.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple, TypeVar

import sqlalchemy as sa

from relay import ids
from relay.store.database import columns, console_tables, identities, row_pages, tables
from relay.store.database.row_pages import RowPage

T = TypeVar("T")
_MAX_TEXT = 300  # characters of a column
_table = console_tables.audit_entry


class Door(StrEnum):
    """By which way a change came."""

    CONSOLE = "console"
    API = "api"
    COMMAND_LINE = "command_line"


class Actor(NamedTuple):
    """Who makes a change: an account, an API key, or a user of this machine. `origin`: an address, or a host's name."""

    door: Door
    name: str
    origin: str


class AuditedChange(NamedTuple):
    """What is done, as `OBJECT.VERB`, and to what: an id or a name; `recipient` is the address that it is about."""

    action: str
    target: str = ""
    recipient: str = ""
    detail: str = ""


class AuditFilter(NamedTuple):
    """What an entry must have, all of it. Empty: every entry."""

    by: str = ""
    door: str = ""
    action: str = ""  # a whole one, or an object: all that was done to such
    target: str = ""
    recipient: str = ""
    since: datetime | None = None
    until: datetime | None = None  # before then


def count_of(value: object) -> int:
    """How many things a result says were changed: that number, 1 for True, 0 for False; 1 for what says nothing."""
    return int(value) if isinstance(value, int) else 1


def carry_out(
    connection: sa.Connection,
    actor: Actor,
    change: AuditedChange,
    work: Callable[[sa.Connection], T],
    count: Callable[[T], int] = count_of,
    target: Callable[[T], str] | None = None,
) -> T:
    """Runs the work and adds its entry. `count` says how many things its result means; `target` names what was made."""
    # Before the work: afterwards a delivery may not have its address any more.
    if not change.recipient and change.action.startswith("queue."):
        change = change._replace(recipient=_find_recipient(connection, change.target))
    value = work(connection)
    if target is not None:
        change = change._replace(target=target(value))
    add_entry(connection, actor, change, count(value))
    return value


def add_entry(connection: sa.Connection, actor: Actor, change: AuditedChange, changed_count: int) -> None:
    """Adds an entry. `changed_count`: how many things were changed; 0 where there was nothing to change."""
    now = datetime.now(UTC)
    row = {
        "id": ids.new(now),
        "at": now,
        "door": actor.door,
        "by": _clean(actor.name),
        "origin": _clean(actor.origin),
        "action": change.action,
        "target": _clean(change.target),
        "recipient": _stored_recipient(connection, change.recipient),
        "changed": changed_count,
        "detail": _clean(change.detail),
    }
    connection.execute(sa.insert(_table), row)


def list_entries(connection: sa.Connection, entry_filter: AuditFilter, limit: int, before: str = "") -> RowPage:
    """The entries, the newest first, beginning before the id `before`."""
    conditions = row_pages.time_span(_table.c.id, entry_filter.since, entry_filter.until)
    for name in ("by", "door", "target"):
        if value := getattr(entry_filter, name):
            conditions.append(_table.c[name] == value)
    if entry_filter.action:
        is_whole = "." in entry_filter.action
        conditions.append(
            _table.c.action == entry_filter.action
            if is_whole
            else _table.c.action.startswith(f"{entry_filter.action}.", autoescape=True)
        )
    if entry_filter.recipient:
        names = identities.policy_for(connection).possible_names(entry_filter.recipient)
        conditions.append(_table.c.recipient.in_(names))
    return row_pages.read_newest(connection, _table, conditions, limit, before)


def find_about(connection: sa.Connection, mailbox: str) -> Sequence[sa.RowMapping]:
    """What was done about an address, the oldest first, without who did it."""
    names = identities.policy_for(connection).possible_names(mailbox)
    shown = (_table.c.at, _table.c.action, _table.c.target, _table.c.changed)
    wanted = sa.select(*shown).where(_table.c.recipient.in_(names)).order_by(_table.c.id)
    return connection.execute(wanted).mappings().all()


def erase_recipient(connection: sa.Connection, mailbox: str) -> int:
    """Removes an address from all entries. Returns of how many."""
    names = identities.policy_for(connection).possible_names(mailbox)
    return connection.execute(sa.update(_table).where(_table.c.recipient.in_(names)).values(recipient="")).rowcount


def _find_recipient(connection: sa.Connection, target: str) -> str:
    """The recipient of a delivery, or of a message that has only one."""
    message, dot, number = target.partition(".")
    table = tables.delivery
    wanted = sa.select(table.c.recipient).where(table.c.message == message).limit(2)
    if dot:
        wanted = wanted.where(table.c.number == int(number))
    found = list(connection.scalars(wanted))
    return found[0] if len(found) == 1 else ""


def _stored_recipient(connection: sa.Connection, mailbox: str) -> str:
    policy = identities.policy_for(connection)
    return "" if policy.mode == "aggregate" or not mailbox else _clean(policy.stored_name(mailbox))


def _clean(text: str) -> str:
    return columns.storable_text(text, _MAX_TEXT)
