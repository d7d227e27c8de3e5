"""A page of rows whose key is an id of ours, which sorts by time: the newest first.

In: conditions, and where the page begins.  Out: rows, and the cursor of the page after it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from relay import ids

Condition = sa.ColumnElement[bool]


class RowPage(NamedTuple):
    """Rows; `next` is the cursor of the page after it, "" at the end."""

    items: list[sa.RowMapping]
    next: str


def read_newest(
    connection: sa.Connection, table: sa.Table, conditions: Sequence[Condition], limit: int, before: str = ""
) -> RowPage:
    """The rows for which all conditions hold, beginning before the id `before`."""
    query = sa.select(table).where(*conditions).order_by(table.c.id.desc()).limit(limit + 1)
    if before:
        query = query.where(table.c.id < before)
    rows = list(connection.execute(query).mappings())
    return RowPage(rows[:limit], rows[limit - 1]["id"] if len(rows) > limit else "")


def time_span(key: sa.ColumnElement[str], since: datetime | None, until: datetime | None) -> list[Condition]:
    """Ids from `since` on and before `until`."""
    span = []
    if since is not None:
        span.append(key >= ids.lowest_at(since))
    if until is not None:
        span.append(key < ids.lowest_at(until))
    return span
