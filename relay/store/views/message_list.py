"""What the console shows: read queries, a fixed number for each page however much there is on it.

Lists are paged by key, the newest first: the last row's id is the next page's cursor, and no page grows slower with
its depth.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from relay import ids
from relay.store.database import identities, tables
from relay.store.database.tables import Status
from relay.store.recipients import consent
from relay.store.tracking.hit_counts import HitCounts

_MAX_RECENT = 500  # messages whose streams are offered as a filter


class MessageSummary(NamedTuple):
    """A message in a list."""

    id: str
    message_id: str
    author: str
    subject: str
    accepted_at: datetime
    size_octets: int
    stream: str
    tags: list[str]
    recipient: str  # the first
    recipients: int
    statuses: dict[str, int]  # how many deliveries stand where
    opens: HitCounts
    clicks: HitCounts
    unsubscribed: int


class MessagePage(NamedTuple):
    """A page of messages; `next` is the cursor of the older ones, "" at the end."""

    items: list[MessageSummary]
    next: str


class MailboxEntry(NamedTuple):
    """A delivery in the mailbox."""

    message: str
    number: int
    recipient: str
    author: str
    subject: str
    accepted_at: datetime
    size_octets: int
    stream: str
    opened: bool


class RecipientPreferences(NamedTuple):
    """Whether a recipient has unsubscribed, and is tracked."""

    recipient: str
    unsubscribed: bool
    untracked: bool
    asked_not_to_be: bool  # tracked; else somebody else decided it


def list_messages(
    connection: sa.Connection,
    limit: int,
    *,
    query: str = "",
    status: str = "",
    stream: str | None = None,
    before: str = "",
) -> MessagePage:
    """Messages, the newest first, older than the cursor `before`.

    `query` is looked for in subject, author, Message-ID and recipients; `status` is one that any delivery has.
    """
    message, delivery = tables.message, tables.delivery
    first = (
        sa.select(delivery.c.recipient)
        .where(delivery.c.message == message.c.id)
        .order_by(delivery.c.number)
        .limit(1)
        .scalar_subquery()
    )
    wanted = (
        sa.select(
            *(message.c[name] for name in ("id", "message_id", "author", "subject", "accepted_at", "size_octets")),
            message.c.stream,
            message.c.tags,
            first.label("recipient"),
        )
        .order_by(message.c.id.desc())
        .limit(limit + 1)
    )
    if before:
        wanted = wanted.where(message.c.id < before)
    if stream is not None:
        wanted = wanted.where(message.c.stream == stream)
    if status:
        wanted = wanted.where(_any_delivery(delivery.c.status == status))
    if query:
        texts = (message.c.subject, message.c.author, message.c.message_id)
        bare = query.removeprefix("<").removesuffix(">")
        wanted = wanted.where(
            sa.or_(
                *(text.icontains(bare, autoescape=True) for text in texts),
                _any_delivery(delivery.c.recipient.icontains(bare, autoescape=True)),
                _any_delivery(delivery.c.recipient == identities.policy_for(connection).pseudonym(bare)),
            )
        )
    rows = connection.execute(wanted).mappings().all()
    shown = rows[:limit]
    sums = _sums_by_message(connection, [row["id"] for row in shown])
    lines = [MessageSummary(**row, **sums.get(row["id"], _NO_SUMS)) for row in shown]
    return MessagePage(lines, lines[-1].id if len(rows) > limit else "")


def count_accepted(connection: sa.Connection, since: datetime | None, until: datetime | None) -> int:
    """How many of the messages that are still there were accepted in that time."""
    table = tables.message
    wanted = sa.select(sa.func.count()).select_from(table)
    if since is not None:
        wanted = wanted.where(table.c.id >= ids.lowest_at(since))
    if until is not None:
        wanted = wanted.where(table.c.id < ids.lowest_at(until))
    return connection.scalar(wanted) or 0


def list_streams(connection: sa.Connection) -> list[str]:
    """The streams of recent messages."""
    recent = sa.select(tables.message.c.stream).order_by(tables.message.c.id.desc()).limit(_MAX_RECENT).subquery()
    return sorted(connection.scalars(sa.select(recent.c.stream).distinct()))


def list_mailbox(
    connection: sa.Connection, limit: int, *, query: str = "", before: tuple[str, int] | None = None
) -> list[MailboxEntry]:
    """Delivered mail whose octets are still kept, the newest first, after the delivery `before`."""
    message, delivery = tables.message, tables.delivery
    seen = delivery.c.opens_human + delivery.c.opens_proxied > 0
    wanted = (
        sa.select(
            delivery.c.message,
            delivery.c.number,
            delivery.c.recipient,
            *(message.c[name] for name in ("author", "subject", "accepted_at", "size_octets", "stream")),
            seen.label("opened"),
        )
        .join(message, message.c.id == delivery.c.message)
        .join(tables.content, tables.content.c.message == delivery.c.message)
        .where(delivery.c.status == Status.DELIVERED)
        .order_by(delivery.c.message.desc(), delivery.c.number)
        .limit(limit)
    )
    if query:
        texts = (delivery.c.recipient, message.c.subject, message.c.author)
        wanted = wanted.where(sa.or_(*(text.icontains(query, autoescape=True) for text in texts)))
    if before:
        wanted = wanted.where(
            sa.or_(
                delivery.c.message < before[0],
                sa.and_(delivery.c.message == before[0], delivery.c.number > before[1]),
            )
        )
    return [MailboxEntry(**row) for row in connection.execute(wanted).mappings()]


def find_recipient_preferences(connection: sa.Connection, message_id: str, number: int) -> RecipientPreferences | None:
    """Whether that delivery's recipient has left its stream, and asked not to be tracked; None if unknown."""
    table = tables.delivery
    row = connection.execute(
        sa.select(table.c.recipient, table.c.unsubscribed_at).filter_by(message=message_id, number=number)
    ).first()
    if row is None:
        return None
    untracked = bool(consent.find_untracked(connection, [row.recipient]))
    asked = consent.opted_out_themselves(connection, row.recipient)
    return RecipientPreferences(row.recipient, row.unsubscribed_at is not None, untracked, asked)


def _any_delivery(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    return sa.exists().where(tables.delivery.c.message == tables.message.c.id, condition)


_OPENS = [f"opens_{verdict}" for verdict in HitCounts._fields]
_CLICKS = [f"clicks_{verdict}" for verdict in ("human", "machine", "unknown")]
COUNTER_COLUMNS = (*_OPENS, *_CLICKS)
_NO_SUMS: dict[str, Any] = {  # Any: the fields of `MessageSummary` that `_sums_by_message` gives
    "recipients": 0,
    "statuses": {},
    "opens": HitCounts(),
    "clicks": HitCounts(),
    "unsubscribed": 0,
}


def _sums_by_message(connection: sa.Connection, message_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Per message, what its deliveries come to: one query for the whole page."""
    table = tables.delivery
    rows = connection.execute(
        sa.select(
            table.c.message,
            table.c.status,
            sa.func.count().label("count"),
            sa.func.count(table.c.unsubscribed_at).label("unsubscribed"),
            *(sa.func.sum(table.c[name]).label(name) for name in COUNTER_COLUMNS),
        )
        .where(table.c.message.in_(message_ids))
        .group_by(table.c.message, table.c.status)
    ).mappings()
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        sums = found.setdefault(row["message"], {**_NO_SUMS, "statuses": {}})
        sums["recipients"] += row["count"]
        sums["statuses"][row["status"]] = row["count"]
        sums["unsubscribed"] += row["unsubscribed"]
        sums["opens"] = _add_counts(sums["opens"], opens_of(row))
        sums["clicks"] = _add_counts(sums["clicks"], clicks_of(row))
    message = tables.message
    apart = sa.select(message.c.id, *(message.c[name] for name in COUNTER_COLUMNS))
    for row in connection.execute(apart.where(message.c.id.in_(message_ids))).mappings():
        sums = found.setdefault(row["id"], {**_NO_SUMS, "statuses": {}})
        sums["opens"] = _add_counts(sums["opens"], opens_of(row))
        sums["clicks"] = _add_counts(sums["clicks"], clicks_of(row))
    return found


def _add_counts(one: HitCounts, other: HitCounts) -> HitCounts:
    return HitCounts(*map(sum, zip(one, other, strict=True)))


def opens_of(row: sa.RowMapping) -> HitCounts:
    """The open counters of a delivery's row."""
    return HitCounts(*(int(row[name]) for name in _OPENS))


def clicks_of(row: sa.RowMapping) -> HitCounts:
    """The click counters of a delivery's row."""
    human, machine, unknown = (int(row[name]) for name in _CLICKS)
    return HitCounts(human=human, machine=machine, unknown=unknown)
