"""All that is known of one message: its deliveries, their attempts, its events. Five queries, however much there is."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from relay.store import tables
from relay.store.reports import HITS, clicks_of, opens_of
from relay.store.totals import Tally

MOST_DELIVERIES = 500  # of one message on its page
MOST_EVENTS = 1000


class Attempt(NamedTuple):
    """One try and its reply."""

    at: datetime
    upstream: str
    phase: str
    code: int
    status: str
    text: str
    took_ms: int
    rule: str
    uncertain: bool  # it may have arrived


class Delivery(NamedTuple):
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
    attempts: list[Attempt]
    opens: Tally
    clicks: Tally
    unsubscribed_at: datetime | None
    complained_at: datetime | None


class Happening(NamedTuple):
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


class Story(NamedTuple):
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
    opens: Tally  # of nobody in particular; beside those of the deliveries
    clicks: Tally
    deliveries: list[Delivery]
    recipients: int  # of all deliveries, also where not all are in the list
    events: list[Happening]  # in order of time
    has_content: bool


def read(session: sa.Connection, message_id: str) -> Story | None:
    """One message with its deliveries, their attempts, and its events; None if there is none of that id."""
    table = tables.message
    kept = sa.exists().where(tables.content.c.message == table.c.id)
    names = [name for name in Story._fields if name in table.c]  # not the plan: it can be large
    row = (
        session.execute(
            sa.select(*(table.c[name] for name in (*names, *HITS)), kept.label("has_content")).filter_by(id=message_id)
        )
        .mappings()
        .first()
    )
    if row is None:
        return None
    count = session.scalar(sa.select(sa.func.count()).where(tables.delivery.c.message == message_id))
    event = tables.event
    happened = session.execute(
        sa.select(*(event.c[name] for name in Happening._fields))
        .where(event.c.message == message_id)
        .order_by(event.c.at, event.c.id)
        .limit(MOST_EVENTS)
    )
    return Story(
        **{name: row[name] for name in (*names, "has_content")},
        opens=opens_of(row),
        clicks=clicks_of(row),
        deliveries=_deliveries(session, message_id),
        recipients=count or 0,
        events=[Happening(*found) for found in happened],
    )


def _deliveries(session: sa.Connection, message_id: str) -> list[Delivery]:
    table, attempt = tables.delivery, tables.attempt
    rows = (
        session.execute(sa.select(table).filter_by(message=message_id).order_by(table.c.number).limit(MOST_DELIVERIES))
        .mappings()
        .all()
    )
    tried: dict[int, list[Attempt]] = {}
    if rows:
        found: Iterable[Any] = session.execute(
            sa.select(attempt.c.number, *(attempt.c[name] for name in Attempt._fields))
            .where(attempt.c.message == message_id, attempt.c.number <= rows[-1]["number"])
            .order_by(attempt.c.id)
        )
        for number, *values in found:
            tried.setdefault(number, []).append(Attempt(*values))
    same = [name for name in Delivery._fields if name in table.c and name != "attempts"]
    return [
        Delivery(
            **{name: row[name] for name in same},
            attempts=tried.get(row["number"], []),
            opens=opens_of(row),
            clicks=clicks_of(row),
        )
        for row in rows
    ]
