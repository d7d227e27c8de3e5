"""Past hits, judged by the rules of today.

`review_hits` reads: it walks through all hits by delivery, and names the deliveries whose verdicts would change.
`reclassify_deliveries` judges these in a transaction that writes. So a review holds up nobody, and a second run writes
nothing.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import NamedTuple

import sqlalchemy as sa

from relay import ids
from relay.store.database import tables
from relay.store.tracking import verdicts

_MAX_HITS = 5_000  # that are read at once
_NO_DELIVERY: tuple[str, int] = ("", -1)


class ReviewStep(NamedTuple):
    """A step of `review_hits`: where to go on, how many hits were judged, and the deliveries with verdicts that would
    change."""

    after: tuple[str, int] | None
    hits: int
    outdated_hits: list[tuple[str, int]]


def review_hits(connection: sa.Connection, since: datetime | None, after: tuple[str, int] | None) -> ReviewStep:
    """Judges the hits of the next deliveries behind `after`, of those with a hit since then. Call again with the
    step's `after` until that is None."""
    at = after or _NO_DELIVERY
    rows = connection.execute(_HITS_AFTER, {"message": at[0], "number": at[1]}).mappings().all()
    groups = [(key, list(some)) for key, some in groupby(rows, key=lambda row: (row["message"], row["number"]))]
    if not groups:
        return ReviewStep(None, 0, [])
    is_last = len(rows) < _MAX_HITS
    if not is_last and len(groups) > 1:
        groups.pop()  # there may be more of it
    last = groups[-1][0]
    found = {
        (row["message"], row["number"]): row
        for row in connection.execute(_EVIDENCE_BETWEEN, _range_parameters(at, last)).mappings()
    }
    first = ids.lowest_at(since) if since is not None else ""
    hits, outdated = 0, []
    for key, some in groups:
        if key not in found or some[-1]["id"] < first:
            continue
        hits += len(some)
        latest = some[: -verdicts.MAX_HITS_RECLASSIFIED - 1 : -1]
        if any(verdicts.find_changes(latest, found[key], from_scratch=True)):
            outdated.append(key)
    return ReviewStep(None if is_last else last, hits, outdated)


def reclassify_deliveries(connection: sa.Connection, deliveries: Sequence[tuple[str, int]]) -> int:
    """Judges the hits of those deliveries and moves their counters. Returns how many hits changed."""
    return sum(verdicts.judge_hits(connection, *key, from_scratch=True)[1] for key in deliveries)


def split_into_batches(deliveries: Sequence[tuple[str, int]]) -> Iterator[Sequence[tuple[str, int]]]:
    """As many as one commit takes."""
    for at in range(0, len(deliveries), verdicts.MAX_DELIVERIES_RECLASSIFIED):
        yield deliveries[at : at + verdicts.MAX_DELIVERIES_RECLASSIFIED]


def _range_parameters(after: tuple[str, int], last: tuple[str, int]) -> dict[str, object]:
    return {"message": after[0], "number": after[1], "last_message": last[0], "last_number": last[1]}


def _is_behind(table: sa.Table) -> sa.ColumnElement[bool]:
    key = sa.tuple_(table.c.message, table.c.number)
    return key > sa.tuple_(sa.bindparam("message"), sa.bindparam("number"))


_HITS_AFTER = (
    sa.select(tables.event.c.message, tables.event.c.number, *verdicts.HIT_COLUMNS)
    # Joined with nothing, so that SQLite does not take the index by type: it would sort all hits in each step.
    .where(
        _is_behind(tables.event),
        tables.event.c.number.is_not(None),
        tables.event.c.type.op("||")("").in_(verdicts.HIT_TYPES),
    )
    .order_by(tables.event.c.message, tables.event.c.number, tables.event.c.id)
    .limit(_MAX_HITS)
)
_EVIDENCE_BETWEEN = sa.select(
    *(tables.delivery.c[name] for name in ("message", "number", "settled_at", "observations"))
).where(
    _is_behind(tables.delivery),
    sa.tuple_(tables.delivery.c.message, tables.delivery.c.number)
    <= sa.tuple_(sa.bindparam("last_message"), sa.bindparam("last_number")),
)
