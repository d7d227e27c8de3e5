"""Bounces by receiving domain and category, with the latest reply of each.

The counts come from roll-ups, so that their cost does not depend on the number of events. Roll-ups have no domains by
stream: if both are wanted, the latest bounces are counted.
"""

from collections import Counter
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from relay import address
from relay.event_type import EventType
from relay.store.database import columns, packed_rows, row_pages, tables
from relay.store.views import message_search, statistics

DOMAIN, CATEGORY = "domain", "category"
MAX_COUNTED = 20_000  # the latest bounces, if roll-ups do not have the counts
_MAX_SAMPLES = 2000  # the latest bounces, among which replies are looked for

_Group = tuple[str | None, str | None]  # domain, category


class BounceSampleRow(NamedTuple):
    """The latest bounce of a group."""

    at: datetime
    message: str
    text: str


class BounceCount(NamedTuple):
    """The number of bounces in a group. A field by which they are not grouped is None."""

    domain: str | None
    category: str | None
    bounces: int
    delivered: int | None  # by domain alone
    sample: BounceSampleRow | None


class _Bounce(NamedTuple):
    """One that was counted, or whose reply may be shown."""

    id: str
    at_us: int
    message: str
    recipient: str
    category: str | None
    text: str


def count_bounces(connection: sa.Connection, selection: statistics.Selection, by: frozenset[str]) -> list[BounceCount]:
    """The groups, most bounces first."""
    is_counted = statistics.is_counted(selection, statistics.DOMAIN if DOMAIN in by else None)
    latest = _read_latest(connection, selection, _MAX_SAMPLES if is_counted else MAX_COUNTED)
    samples: dict[_Group, _Bounce] = {}
    counts: list[tuple[_Group, int, int | None]]
    groups = [_group_of(bounce, by) for bounce in latest]
    for group, bounce in zip(groups, latest, strict=True):
        samples.setdefault(group, bounce)
    if is_counted:
        counts = _rolled_up_counts(connection, selection, by)
    else:
        counts = [(group, bounces, None) for group, bounces in Counter(groups).items()]
    found = [
        BounceCount(*group, bounces, delivered, _sample_row(samples.get(group)))
        for group, bounces, delivered in counts
        if bounces
    ]
    return sorted(found, key=lambda one: (-one.bounces, one.domain or "", one.category or ""))


def _rolled_up_counts(
    connection: sa.Connection, selection: statistics.Selection, by: frozenset[str]
) -> list[tuple[_Group, int, int | None]]:
    """Each group with its bounces; by domain alone, also with its deliveries."""
    if DOMAIN not in by:
        categories = statistics.read_totals(connection, selection).categories
        return [((None, category), bounces, None) for category, bounces in categories.items()]
    counts: list[tuple[_Group, int, int | None]] = []
    types = (EventType.BOUNCED, EventType.DELIVERED)
    for domain, totals in statistics.read_groups(connection, selection, statistics.DOMAIN, types).items():
        if CATEGORY in by:
            counts += [((domain, category), bounces, None) for category, bounces in totals.categories.items()]
        else:
            counts.append(((domain, None), totals.bounced, totals.delivered))
    return counts


def _read_latest(connection: sa.Connection, selection: statistics.Selection, limit: int) -> list[_Bounce]:
    """Bounces, the newest first. Of a stream they are looked for among the latest MAX_COUNTED."""
    event = tables.event
    span = [event.c.type == EventType.BOUNCED, *row_pages.time_span(event.c.id, selection.start, selection.end)]
    wanted = sa.select(
        event.c.id,
        sa.type_coerce(event.c.at, sa.BigInteger).label("at_us"),
        event.c.message,
        event.c.recipient,
        event.c.reasons[0].as_string().label("category"),
        event.c.detail,
    )
    if selection.stream:
        latest = sa.select(event.c.id).where(*span).order_by(event.c.id.desc()).limit(MAX_COUNTED)
        wanted = wanted.where(event.c.id.in_(latest), *message_search.events_of(selection.stream, ""))
    else:
        wanted = wanted.where(*span)
    rows = packed_rows.read_rows(connection, wanted.order_by(event.c.id.desc()).limit(limit))
    return sorted((_Bounce(*row) for row in rows), reverse=True)


def _sample_row(bounce: _Bounce | None) -> BounceSampleRow | None:
    if bounce is None:
        return None
    at = columns.from_microseconds(bounce.at_us)
    assert at is not None
    return BounceSampleRow(at, bounce.message, bounce.text)


def _group_of(bounce: _Bounce, by: frozenset[str]) -> _Group:
    domain = address.domain(bounce.recipient) if DOMAIN in by else None
    return domain, (bounce.category or "") if CATEGORY in by else None
