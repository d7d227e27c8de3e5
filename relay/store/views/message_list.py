"""The lists of messages that the console shows: a fixed number of queries for each page.

Lists are paged by key, the newest first: the last row's id is the next page's cursor, and no page grows slower with
its depth.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from relay import ids
from relay.hit_verdict import CLICK_VERDICTS
from relay.store.database import tables
from relay.store.database.tables import Status
from relay.store.recipients import consent
from relay.store.tracking.hit_counts import HitCounts
from relay.store.views import message_search
from relay.store.views.search_query import MessageSearch

EVERY_MESSAGE = MessageSearch()
_MAX_RECENT = 500  # messages whose streams are offered as a filter
MAX_MAILBOX_SCANNED = 5_000  # messages whose octets are kept, for a page of the mailbox
_LAST_NUMBER = 999_999_999  # no delivery of a message has a greater one


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
    statuses: dict[str, int]  # deliveries by status
    opens: HitCounts
    clicks: HitCounts
    unsubscribed: int
    opened_by: int  # deliveries that a person opened; a click implies an open
    clicked_by: int


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


class MailboxPage(NamedTuple):
    """A page of the mailbox; `next` is the delivery after which the older ones begin, None at the end."""

    items: list[MailboxEntry]
    next: tuple[str, int] | None


class RecipientPreferences(NamedTuple):
    """Whether a recipient has unsubscribed, and is tracked."""

    recipient: str
    unsubscribed: bool
    untracked: bool
    asked_not_to_be: bool  # tracked, by the recipient's own decision
    author: str  # the message's
    stream: str


def list_messages(
    connection: sa.Connection, limit: int, search: MessageSearch = EVERY_MESSAGE, before: str = ""
) -> MessagePage:
    """Messages that the search finds, the newest first, older than the cursor `before`."""
    message, delivery = tables.message, tables.delivery
    page = message_search.find_messages(connection, search, limit, before)
    first = (
        sa.select(delivery.c.recipient)
        .where(delivery.c.message == message.c.id)
        .order_by(delivery.c.number)
        .limit(1)
        .scalar_subquery()
    )
    names = ("id", "message_id", "author", "subject", "accepted_at", "size_octets", "stream", "tags")
    wanted = sa.select(*(message.c[name] for name in names), first.label("recipient"))
    rows = connection.execute(wanted.where(message.c.id.in_(page.ids)).order_by(message.c.id.desc())).mappings().all()
    sums = sums_by_message(connection, page.ids)
    return MessagePage([MessageSummary(**row, **sums[row["id"]]) for row in rows], page.next)


def count_accepted(connection: sa.Connection, since: datetime | None, until: datetime | None) -> int:
    """The number of stored messages that were accepted in that time."""
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
) -> MailboxPage:
    """Delivered mail whose octets are still kept, the newest first, after the delivery `before`. A page looks at
    MAX_MAILBOX_SCANNED messages at most, so it may have few items, or none, and a `next`."""
    message, delivery, content = tables.message, tables.delivery, tables.content
    seen = delivery.c.opens_human + delivery.c.opens_proxied > 0
    scanned = sa.select(content.c.message).order_by(content.c.message.desc()).offset(MAX_MAILBOX_SCANNED).limit(1)
    wanted = (
        sa.select(
            delivery.c.message,
            delivery.c.number,
            delivery.c.recipient,
            *(message.c[name] for name in ("author", "subject", "accepted_at", "size_octets", "stream")),
            seen.label("opened"),
        )
        .join(message, message.c.id == delivery.c.message)
        .join(content, content.c.message == delivery.c.message)
        .where(delivery.c.status == Status.DELIVERED)
        .order_by(delivery.c.message.desc(), delivery.c.number)
        .limit(limit + 1)
    )
    if query:
        texts = (delivery.c.recipient, message.c.subject, message.c.author)
        wanted = wanted.where(sa.or_(*(text.icontains(query, autoescape=True) for text in texts)))
    if before:
        scanned = scanned.where(content.c.message <= before[0])
        is_rest = sa.and_(delivery.c.message == before[0], delivery.c.number > before[1])
        wanted = wanted.where(sa.or_(delivery.c.message < before[0], is_rest), content.c.message <= before[0])
    end: str | None = connection.scalar(scanned)
    if end:
        wanted = wanted.where(content.c.message >= end)
    found = [MailboxEntry(**row) for row in connection.execute(wanted).mappings()]
    if len(found) > limit:
        return MailboxPage(found[:limit], (found[limit - 1].message, found[limit - 1].number))
    return MailboxPage(found, (end, _LAST_NUMBER) if end else None)


def find_recipient_preferences(connection: sa.Connection, message_id: str, number: int) -> RecipientPreferences | None:
    """Whether the delivery's recipient has unsubscribed from its stream, or must not be tracked; None if there is no
    such delivery."""
    table, message = tables.delivery, tables.message
    row = connection.execute(
        sa.select(table.c.recipient, table.c.unsubscribed_at, message.c.author, message.c.stream)
        .outerjoin(message, message.c.id == table.c.message)
        .where(table.c.message == message_id, table.c.number == number)
    ).first()
    if row is None:
        return None
    untracked = bool(consent.find_untracked(connection, [row.recipient]))
    asked = consent.opted_out_themselves(connection, row.recipient)
    is_unsubscribed = row.unsubscribed_at is not None
    return RecipientPreferences(row.recipient, is_unsubscribed, untracked, asked, row.author or "", row.stream or "")


_OPENS = [f"opens_{verdict}" for verdict in HitCounts._fields]
_CLICKS = [f"clicks_{verdict}" for verdict in CLICK_VERDICTS]
COUNTER_COLUMNS = (*_OPENS, *_CLICKS)
_NO_SUMS: dict[str, Any] = {  # Any: the fields of `MessageSummary` that `sums_by_message` gives
    "recipients": 0,
    "statuses": {},
    "opens": HitCounts(),
    "clicks": HitCounts(),
    "unsubscribed": 0,
    "opened_by": 0,
    "clicked_by": 0,
}


def sums_by_message(connection: sa.Connection, message_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Sums over the deliveries of each message, by one query for the whole page. Any: the fields of
    `MessageSummary`."""
    table = tables.delivery
    opened = table.c.opens_human + table.c.opens_proxied > 0
    rows = connection.execute(
        sa.select(
            table.c.message,
            table.c.status,
            sa.func.count().label("count"),
            sa.func.count(table.c.unsubscribed_at).label("unsubscribed"),
            sa.func.count(sa.case((opened, 1))).label("opened_by"),
            sa.func.count(sa.case((table.c.clicks_human > 0, 1))).label("clicked_by"),
            *(sa.func.sum(table.c[name]).label(name) for name in COUNTER_COLUMNS),
        )
        .where(table.c.message.in_(message_ids))
        .group_by(table.c.message, table.c.status)
    ).mappings()
    found: dict[str, dict[str, Any]] = {message: {**_NO_SUMS, "statuses": {}} for message in message_ids}
    for row in rows:
        sums = found[row["message"]]
        sums["recipients"] += row["count"]
        sums["statuses"][row["status"]] = row["count"]
        for name in ("unsubscribed", "opened_by", "clicked_by"):
            sums[name] += row[name]
        sums["opens"] = _add_counts(sums["opens"], opens_of(row))
        sums["clicks"] = _add_counts(sums["clicks"], clicks_of(row))
    message = tables.message
    apart = sa.select(message.c.id, *(message.c[name] for name in COUNTER_COLUMNS))
    for row in connection.execute(apart.where(message.c.id.in_(message_ids))).mappings():
        sums = found[row["id"]]
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
