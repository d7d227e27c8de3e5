"""The history of deliveries: events, inserted once each, with what webhooks are due for them.

An event, its webhook requests and what it adds to the roll-ups are one commit, so that a crash loses none of them. The
recipient of an event is written as `[privacy] mode` has it.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from relay.event_type import EventType
from relay.store.database import bulk_statement, identities, roll_ups, tables
from relay.store.database.roll_ups import StreamAndTags
from relay.store.webhooks import webhook_queue

_INSERT = bulk_statement.insert_into(tables.event)
# Made once: making a statement takes longer than running it.
_FIND_IDS = sa.select(tables.event.c.id).where(tables.event.c.id.in_(sa.bindparam("ids", expanding=True)))

_FIND_IDS_TEXT = "SELECT id FROM event WHERE id IN (SELECT value FROM json_each(?))"


class NewEvent(NamedTuple):
    """An event that is to be inserted: the columns of the table `event`, but for those that verdicts set later."""

    # A row object would take as long to make as the row takes to insert.
    id: str
    type: EventType
    at: datetime
    message: str
    number: int | None = None  # None: of the message
    recipient: str = ""
    verdict: str = ""
    reasons: Sequence[str] = ()
    url: str = ""
    link: int = 0
    user_agent: str = ""
    ip: str = ""
    detail: str = ""
    first_open: bool = False
    first_click: bool = False
    first_of_link: bool = False


def find_recorded(connection: sa.Connection, event_ids: Sequence[str]) -> set[str]:
    """Those of the ids under which an event is stored. At most 900: SQLite's oldest limit on variables."""
    if connection.dialect.name == "sqlite":
        return {found for (found,) in bulk_statement.select(connection, _FIND_IDS_TEXT, json.dumps(event_ids))}
    return set(connection.scalars(_FIND_IDS, {"ids": event_ids}))


def append_events(
    connection: sa.Connection, events: Sequence[NewEvent], groups: Mapping[str, StreamAndTags] | None = None
) -> None:
    """Inserts events in their order, counts them, and queues them for the webhooks that want them. `groups` are those
    of their messages; without them they are looked up."""
    policy = identities.policy_for(connection)
    rows = [
        event._asdict()
        | {
            "type": str(event.type),
            "recipient": policy.event_recipient(event.recipient),
            "reasons": list(event.reasons),
            "implies_open": False,
        }
        for event in events
    ]
    _INSERT.run(connection, rows)
    if groups is None:
        groups = roll_ups.find_streams_and_tags(connection, {event.message for event in events})
    roll_ups.count_events(connection, rows, groups)
    webhook_queue.enqueue_wanted(connection, rows)


def uncount_events(connection: sa.Connection, message: str) -> None:
    """Takes the events of a message out of the roll-ups. The same commit deletes them, as if they had not been."""
    groups = roll_ups.find_streams_and_tags(connection, [message]).get(message)
    rows = connection.execute(sa.select(tables.event).where(tables.event.c.message == message)).mappings().all()
    if groups is not None:
        for row in rows:
            roll_ups.count_event(connection, row, groups, by=-1)
