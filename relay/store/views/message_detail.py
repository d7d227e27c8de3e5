"""All that is known of one message: its deliveries, their attempts, its events. Five queries, however much there is."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from relay.event_type import EventType
from relay.store.database import tables
from relay.store.queue.attempts import AttemptDetail
from relay.store.tracking.hit_counts import HitCounts
from relay.store.views.message_list import COUNTER_COLUMNS, clicks_of, opens_of

MAX_DELIVERIES = 500  # of one message on its page
MAX_EVENTS = 1000


class DeliveryDetail(NamedTuple):
    """Message × recipient, with its attempts in order."""

    number: int
    recipient: str
    status: str
    kind: str
    category: str
    tracked: bool
    next_attempt_at: datetime | None
    settled_at: datetime | None
    delivered_at: datetime | None  # also of one that bounced later
    attempts: list[AttemptDetail]
    opens: HitCounts
    clicks: HitCounts
    opens_implied: int  # of opens: not seen, but a person clicked
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
    """All that is known of one message, without its octets."""

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
    opens: HitCounts  # of nobody in particular; beside those of the deliveries
    clicks: HitCounts
    deliveries: list[DeliveryDetail]
    recipients: int  # of all deliveries, also where not all are in the list
    opened_by: int  # deliveries that a person opened, however often; with those where a click implies it
    clicked_by: int
    events: list[EventDetail]  # in order of time
    has_content: bool


def read_message(connection: sa.Connection, message_id: str) -> MessageDetail | None:
    """One message with its deliveries, their attempts, and its events; None if there is none of that id."""
    table = tables.message
    kept = sa.exists().where(tables.content.c.message == table.c.id)
    names = [name for name in MessageDetail._fields if name in table.c]  # not the plan: it can be large
    row = (
        connection.execute(
            sa.select(*(table.c[name] for name in (*names, *COUNTER_COLUMNS)), kept.label("has_content")).filter_by(
                id=message_id
            )
        )
        .mappings()
        .first()
    )
    if row is None:
        return None
    delivery = tables.delivery
    opened, clicked = delivery.c.opens_human + delivery.c.opens_proxied > 0, delivery.c.clicks_human > 0
    some = [sa.func.count(sa.case((one, 1))) for one in (sa.true(), opened, clicked)]
    counts = connection.execute(sa.select(*some).where(delivery.c.message == message_id)).one()
    event = tables.event
    happened = connection.execute(
        sa.select(*(event.c[name] for name in EventDetail._fields))
        .where(event.c.message == message_id)
        .order_by(event.c.at, event.c.id)
        .limit(MAX_EVENTS)
    )
    return MessageDetail(
        **{name: row[name] for name in (*names, "has_content")}
        | {"links": _links_with_clicks(connection, message_id, row["links"])},
        opens=opens_of(row),
        clicks=clicks_of(row),
        deliveries=_read_deliveries(connection, message_id),
        recipients=counts[0],
        opened_by=counts[1],
        clicked_by=counts[2],
        events=[EventDetail(*found) for found in happened],
    )


def _links_with_clicks(connection: sa.Connection, message_id: str, links: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The links with their clicks by verdict, and by how many recipients of flesh and blood. Any: as reported."""
    event = tables.event
    rows = connection.execute(
        sa.select(event.c.link, event.c.verdict, sa.func.count(), sa.func.count(sa.distinct(event.c.number)))
        .where(event.c.message == message_id, event.c.type == EventType.CLICKED)
        .group_by(event.c.link, event.c.verdict)
    )
    clicks: dict[int, dict[str, int]] = {}
    for link, verdict, hits, recipients in rows:
        counts = clicks.setdefault(link, {"human": 0, "machine": 0, "unknown": 0, "unique": 0})
        counts[verdict] = hits
        counts["unique"] += recipients if verdict == "human" else 0
    return [link | {"clicks": clicks[n]} if (n := link.get("number", 0)) in clicks else link for link in links]


def _read_deliveries(connection: sa.Connection, message_id: str) -> list[DeliveryDetail]:
    table, attempt = tables.delivery, tables.attempt
    rows = (
        connection.execute(
            sa.select(table).filter_by(message=message_id).order_by(table.c.number).limit(MAX_DELIVERIES)
        )
        .mappings()
        .all()
    )
    tried: dict[int, list[AttemptDetail]] = {}
    if rows:
        found: Iterable[Any] = connection.execute(
            sa.select(attempt.c.number, *(attempt.c[name] for name in AttemptDetail._fields))
            .where(attempt.c.message == message_id, attempt.c.number <= rows[-1]["number"])
            .order_by(attempt.c.id)
        )
        for number, *values in found:
            tried.setdefault(number, []).append(AttemptDetail(*values))
    same = [name for name in DeliveryDetail._fields if name in table.c and name != "attempts"]
    return [
        DeliveryDetail(
            **{name: row[name] for name in same},
            attempts=tried.get(row["number"], []),
            opens=opens_of(row),
            clicks=clicks_of(row),
        )
        for row in rows
    ]
