"""Everything about messages: deliveries, attempts and links; for a single message its events, too.

The number of queries is fixed, however many messages there are.
"""

import re
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from relay import conversation
from relay.hit_verdict import CLICK_VERDICTS, HUMAN
from relay.store.database import delivery_rows, tables
from relay.store.database.tables import Status
from relay.store.queue.attempts import ATTEMPT_COLUMNS, AttemptDetail
from relay.store.tracking.hit_counts import HitCounts
from relay.store.views import message_list, message_search
from relay.store.views.message_list import COUNTER_COLUMNS, clicks_of, opens_of

MAX_DELIVERIES = 500  # of one message on its page
MAX_LISTED_DELIVERIES = 20  # of each message in a list
MAX_FOUND = 50  # deliveries of one message that are looked for
MAX_EVENTS = 1000
MAX_CONVERSATIONS = 200  # the latest of a message's attempts
_PLAN_CHARACTERS = 2000  # of its beginning: what goes above the mail stands first
_CLIENT_NAME = re.compile(r'"Received: from ([^\s"\\]{1,255}) \(\[')
_NOT_ARRIVED_FIRST = (
    Status.BOUNCED,
    Status.EXPIRED,
    Status.DEFERRED,
    Status.QUEUED,
    Status.SUPPRESSED,
    Status.DELIVERED,
)
_TABLES = tables.delivery, tables.attempt
Condition = sa.ColumnElement[bool]


class DeliveryDetail(NamedTuple):
    """Message × recipient, with its attempts in order."""

    number: int
    recipient: str
    status: str
    kind: str
    category: str
    tracked: bool
    next_attempt_at: datetime | None
    held_at: datetime | None
    settled_at: datetime | None
    delivered_at: datetime | None  # also of one that bounced later
    attempts: list[AttemptDetail]
    opens: HitCounts
    clicks: HitCounts
    opens_implied: int  # of opens: the pixel was not requested, but a person clicked
    unsubscribed_at: datetime | None
    complained_at: datetime | None


class EventDetail(NamedTuple):
    """An event of a message."""

    id: str
    type: str
    at: datetime
    number: int | None
    recipient: str
    verdict: str
    reasons: list[str]
    url: str
    user_agent: str
    ip: str
    detail: str


class MessageDetail(NamedTuple):
    """Everything about one message, without its octets."""

    id: str
    message_id: str
    author: str
    subject: str
    reverse_path: str
    accepted_at: datetime
    expires_at: datetime
    size_octets: int
    stream: str
    tags: list[str]
    meta: dict[str, str]
    client: str
    pixels: int
    links: list[dict[str, Any]]  # Any: as the rewriting reported them
    reasons: list[str]
    opens: HitCounts  # of no single delivery (`[privacy] mode = "aggregate"`)
    clicks: HitCounts
    all_opens: HitCounts  # of all deliveries, and those of no single delivery
    all_clicks: HitCounts
    deliveries: list[DeliveryDetail]
    recipients: int  # of all deliveries, also where not all are in the list
    opened_by: int  # deliveries that a person opened; a click implies an open
    clicked_by: int
    events: list[EventDetail]  # in order of time
    has_content: bool


def read_message(
    connection: sa.Connection, message_id: str, numbers: Collection[int] | None = None
) -> MessageDetail | None:
    """The message with its first deliveries, their attempts, and its events; None if no message has that id. With
    `numbers`, those deliveries, and of the events those about them or about no single one."""
    found = read_messages(connection, [message_id], max_deliveries=MAX_DELIVERIES, numbers=numbers)
    if not found:
        return None
    event = tables.event
    about = [] if numbers is None else [sa.or_(event.c.number.is_(None), event.c.number.in_(numbers))]
    happened = connection.execute(
        sa.select(*(event.c[name] for name in EventDetail._fields))
        .where(event.c.message == message_id, *about)
        .order_by(event.c.at, event.c.id)
        .limit(MAX_EVENTS)
    )
    detail = found[0]._replace(events=[EventDetail(*one) for one in happened])
    return add_conversations(connection, detail)


def add_conversations(connection: sa.Connection, detail: MessageDetail) -> MessageDetail:
    """The message with the conversations of its latest attempts that did not deliver."""
    attempt = tables.attempt
    kept = sa.select(attempt.c.number, attempt.c.at, attempt.c.conversation).where(
        attempt.c.message == detail.id,
        attempt.c.number.in_([one.number for one in detail.deliveries]),
        attempt.c.conversation != "",
    )
    rows = connection.execute(kept.order_by(attempt.c.id.desc()).limit(MAX_CONVERSATIONS)).all()
    if not rows:
        return detail
    lines = {(number, at): conversation.read_lines(text) for number, at, text in rows}
    return detail._replace(
        deliveries=[
            one._replace(
                attempts=[tried._replace(conversation=lines.get((one.number, tried.at), ())) for tried in one.attempts]
            )
            for one in detail.deliveries
        ]
    )


def find_client_name(connection: sa.Connection, message_id: str) -> str:
    """What the message's client called itself in EHLO, as our Received field has it; empty where that is not kept."""
    plan = sa.select(sa.func.substr(tables.message.c.plan, 1, _PLAN_CHARACTERS)).where(
        tables.message.c.id == message_id
    )
    found = _CLIENT_NAME.search(connection.scalar(plan) or "")
    return found[1] if found else ""


def find_deliveries(
    connection: sa.Connection, message_id: str, recipient: str = "", status: Status | None = None
) -> list[int]:
    """The numbers of the message's deliveries to that recipient (an address or a part of one) and of that status, at
    most MAX_FOUND. Those that did not arrive come first."""
    delivery = tables.delivery
    those = [delivery.c.message == message_id]
    if recipient:
        those.append(message_search.recipient_condition(connection, recipient))
    if status:
        those.append(delivery.c.status == status)
    rank = sa.case({one: n for n, one in enumerate(_NOT_ARRIVED_FIRST)}, value=delivery.c.status, else_=0)
    wanted = sa.select(delivery.c.number).where(*those).order_by(rank, delivery.c.number).limit(MAX_FOUND)
    return list(connection.scalars(wanted))


def count_statuses(connection: sa.Connection, message_id: str) -> dict[Status, int]:
    """How many of the message's deliveries have each status; those that did not arrive come first."""
    delivery = tables.delivery
    counts = sa.select(delivery.c.status, sa.func.count()).where(delivery.c.message == message_id)
    found = {Status(status): count for status, count in connection.execute(counts.group_by(delivery.c.status))}
    return {status: found[status] for status in _NOT_ARRIVED_FIRST if status in found}


def read_messages(
    connection: sa.Connection,
    message_ids: Sequence[str],
    *,
    max_deliveries: int = MAX_LISTED_DELIVERIES,
    recipients: Sequence[str] = (),
    numbers: Collection[int] | None = None,
) -> list[MessageDetail]:
    """Messages in the order of their ids here, without their events.

    Of each, the first deliveries, and those to the addresses that are named; or those with these numbers.
    """
    table = tables.message
    kept = sa.exists().where(tables.content.c.message == table.c.id)
    names = [name for name in MessageDetail._fields if name in table.c]  # not the plan: it can be large
    columns = [table.c[name] for name in (*names, *COUNTER_COLUMNS)]
    rows = connection.execute(sa.select(*columns, kept.label("has_content")).where(table.c.id.in_(message_ids)))
    by_id = {row["id"]: row for row in rows.mappings()}
    present = [message for message in message_ids if message in by_id]
    sums = message_list.sums_by_message(connection, present)
    clicks = count_clicks_by_link(connection, present)
    if numbers is None:
        deliveries = _read_first_deliveries(connection, present, max_deliveries, recipients)
    else:
        deliveries = _read_deliveries(connection, present, *(t.c.number.in_(numbers) for t in _TABLES))
    return [
        MessageDetail(
            **{name: row[name] for name in (*names, "has_content")}
            | {"links": add_clicks(row["links"], clicks[row["id"]])},
            opens=opens_of(row),
            clicks=clicks_of(row),
            all_opens=sums[row["id"]]["opens"],
            all_clicks=sums[row["id"]]["clicks"],
            deliveries=deliveries[row["id"]],
            **{name: sums[row["id"]][name] for name in ("recipients", "opened_by", "clicked_by")},
            events=[],
        )
        for row in map(by_id.__getitem__, present)
    ]


_NO_CLICKS = dict.fromkeys((*CLICK_VERDICTS, "unique"), 0)
LinkClicks = dict[int, dict[str, int]]  # counts by verdict, and "unique", by the link's number


def count_clicks_by_link(connection: sa.Connection, message_ids: Sequence[str]) -> dict[str, LinkClicks]:
    """Per message and link, clicks by verdict, and the number of deliveries with a click by a person."""
    event = tables.event
    rows = connection.execute(
        sa.select(
            event.c.message, event.c.link, event.c.verdict, sa.func.count(), sa.func.count(sa.distinct(event.c.number))
        )
        .where(event.c.message.in_(message_ids), tables.is_click)
        .group_by(event.c.message, event.c.link, event.c.verdict)
    )
    found: dict[str, LinkClicks] = {message: {} for message in message_ids}
    for message, link, verdict, hits, recipients in rows:
        counts = found[message].setdefault(link, dict(_NO_CLICKS))
        counts[verdict] = hits
        counts["unique"] += recipients if verdict == HUMAN else 0
    return found


def add_clicks(links: list[dict[str, Any]], clicks: LinkClicks) -> list[dict[str, Any]]:  # Any: as reported
    """A message's links, each with its `clicks`."""
    return [link | {"clicks": clicks.get(link.get("number", 0), _NO_CLICKS)} for link in links]


def _read_first_deliveries(
    connection: sa.Connection, message_ids: Sequence[str], max_deliveries: int, recipients: Sequence[str]
) -> dict[str, list[DeliveryDetail]]:
    table = tables.delivery
    # Numbers are counted from 0, so that the first ones are a range of the key.
    are_first = [one.c.number < max_deliveries for one in _TABLES]
    if not recipients:
        return _read_deliveries(connection, message_ids, *are_first)
    named = sa.or_(*(message_search.matches_recipient(connection, one) for one in recipients))
    later = sa.select(table.c.message, table.c.number).where(
        table.c.message.in_(message_ids), table.c.number >= max_deliveries, named
    )
    others = [(message, number) for message, number in connection.execute(later)]
    if not others:
        return _read_deliveries(connection, message_ids, *are_first)
    wanted = (
        sa.or_(is_first, delivery_rows.is_of_delivery(one, others))
        for one, is_first in zip(_TABLES, are_first, strict=True)
    )
    return _read_deliveries(connection, message_ids, *wanted)


def _read_deliveries(
    connection: sa.Connection, message_ids: Sequence[str], are_wanted: Condition, are_theirs: Condition
) -> dict[str, list[DeliveryDetail]]:
    """The deliveries that are wanted, with the attempts that are theirs."""
    table, attempt = _TABLES
    wanted = sa.select(table).where(table.c.message.in_(message_ids), are_wanted)
    rows = connection.execute(wanted.order_by(table.c.message, table.c.number)).mappings().all()
    found = connection.execute(
        sa.select(attempt.c.message, attempt.c.number, *(attempt.c[name] for name in ATTEMPT_COLUMNS))
        .where(attempt.c.message.in_(message_ids), are_theirs)
        .order_by(attempt.c.id)
    )
    tried: dict[tuple[str, int], list[AttemptDetail]] = {}
    for message, number, *values in found:
        tried.setdefault((message, number), []).append(AttemptDetail(*values))
    same = [name for name in DeliveryDetail._fields if name in table.c and name != "attempts"]
    details: dict[str, list[DeliveryDetail]] = {message: [] for message in message_ids}
    for row in rows:
        details[row["message"]].append(
            DeliveryDetail(
                **{name: row[name] for name in same},
                attempts=tried.get((row["message"], row["number"]), []),
                opens=opens_of(row),
                clicks=clicks_of(row),
            )
        )
    return details
