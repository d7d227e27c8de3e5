"""What became of the recipients that a search names, in each message that it finds."""

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from relay.store.database import tables
from relay.store.tracking.hit_counts import HitCounts
from relay.store.views import message_list, message_search
from relay.store.views.search_query import MessageSearch


class RecipientFate(NamedTuple):
    """The first delivery of a message to a recipient of the search, and the number of such deliveries."""

    recipient: str
    status: str
    category: str
    opens: HitCounts
    clicks: HitCounts
    deliveries: int


def find_fates(
    connection: sa.Connection, message_ids: Sequence[str], search: MessageSearch
) -> dict[str, RecipientFate]:
    """What became of the recipients, by message; empty if the search names no recipient. One query for a page."""
    table = tables.delivery
    named = [message_search.recipient_condition(connection, one) for one in (*search.recipients, *search.words) if one]
    if not named or not message_ids:
        return {}
    rows = connection.execute(
        sa.select(table)
        .where(table.c.message.in_(message_ids), sa.or_(*named))
        .order_by(table.c.message, table.c.number)
    )
    found: dict[str, RecipientFate] = {}
    for row in rows.mappings():
        if search.statuses and row["status"] not in search.statuses:
            continue
        known = found.get(row["message"])
        found[row["message"]] = (
            known._replace(deliveries=known.deliveries + 1)
            if known
            else RecipientFate(
                row["recipient"],
                row["status"],
                row["category"],
                message_list.opens_of(row),
                message_list.clicks_of(row),
                1,
            )
        )
    return found
