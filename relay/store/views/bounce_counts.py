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
from relay.store.views import event_list, statistics
from relay.store.views.event_list import EventSearch

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


def count_bounces(connection: sa.Connection, selection: statistics.Selection, by: frozenset[str]) -> list[BounceCount]:
    """The groups, most bounces first."""
    is_counted = statistics.is_counted(selection, statistics.DOMAIN if DOMAIN in by else None)
    rows = _latest_bounces(connection, selection, _MAX_SAMPLES if is_counted else MAX_COUNTED)
    groups = [(_group_of(row, by), BounceSampleRow(row["at"], row["message"], row["detail"])) for row in rows]
    samples: dict[_Group, BounceSampleRow] = {}
    for group, sample in groups:
        samples.setdefault(group, sample)
    if is_counted:
        counts = _rolled_up_counts(connection, selection, by)
    else:
        counts = [(group, bounces, None) for group, bounces in Counter(group for group, _ in groups).items()]
    found = [
        BounceCount(*group, bounces, delivered, samples.get(group)) for group, bounces, delivered in counts if bounces
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


def _latest_bounces(connection: sa.Connection, selection: statistics.Selection, limit: int) -> list[sa.RowMapping]:
    search = EventSearch(
        types=(EventType.BOUNCED,), stream=selection.stream or "", since=selection.start, until=selection.end
    )
    return event_list.list_events(connection, search, limit).rows


def _group_of(row: sa.RowMapping, by: frozenset[str]) -> _Group:
    domain = address.domain(row["recipient"]) if DOMAIN in by else None
    category = (row["reasons"][0] if row["reasons"] else "") if CATEGORY in by else None
    return domain, category
