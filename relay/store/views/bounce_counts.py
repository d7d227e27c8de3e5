"""Bounces by receiving domain and category, with the latest reply of each.

The counts are those of the roll-ups: they cost the same however many events there are.
"""

from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from relay import address
from relay.event_type import EventType
from relay.store.views import event_list, statistics
from relay.store.views.event_list import EventSearch

DOMAIN, CATEGORY = "domain", "category"
_MAX_SAMPLES = 2000  # the latest bounces, among which replies are looked for


class BounceSampleRow(NamedTuple):
    """The latest bounce of a group."""

    at: datetime
    message: str
    text: str


class BounceCount(NamedTuple):
    """How often mail bounced. A field by which is not grouped is None."""

    domain: str | None
    category: str | None
    bounces: int
    delivered: int | None  # by domain alone
    sample: BounceSampleRow | None


def count_bounces(connection: sa.Connection, selection: statistics.Selection, by: frozenset[str]) -> list[BounceCount]:
    """The groups, most bounces first."""
    counts: list[tuple[str | None, str | None, int, int | None]] = []
    if DOMAIN in by:
        types = (EventType.BOUNCED, EventType.DELIVERED)
        for domain, totals in statistics.read_groups(connection, selection, statistics.DOMAIN, types).items():
            if CATEGORY in by:
                counts += [(domain, category, count, None) for category, count in totals.categories.items()]
            elif totals.bounced:
                counts.append((domain, None, totals.bounced, totals.delivered))
    else:
        categories = statistics.read_totals(connection, selection).categories
        counts = [(None, category, count, None) for category, count in categories.items()]
    samples = _samples(connection, selection, by)
    found = [
        BounceCount(domain, category, count, delivered, samples.get((domain, category)))
        for domain, category, count, delivered in counts
        if count
    ]
    return sorted(found, key=lambda one: (-one.bounces, one.domain or "", one.category or ""))


def _samples(
    connection: sa.Connection, selection: statistics.Selection, by: frozenset[str]
) -> dict[tuple[str | None, str | None], BounceSampleRow]:
    search = EventSearch(
        types=(EventType.BOUNCED,), stream=selection.stream or "", since=selection.start, until=selection.end
    )
    found: dict[tuple[str | None, str | None], BounceSampleRow] = {}
    for row in event_list.list_events(connection, search, _MAX_SAMPLES).rows:
        domain = address.domain(row["recipient"]) if DOMAIN in by else None
        category = (row["reasons"][0] if row["reasons"] else "") if CATEGORY in by else None
        found.setdefault((domain, category), BounceSampleRow(row["at"], row["message"], row["detail"]))
    return found
