"""Read and change a delivery's row, by message and number."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from relay import ids
from relay.store.database import bulk_statement, columns, tables
from relay.store.database.errors import NotStoredYetError

_MAX_OUTAGE = timedelta(days=1)  # a longer outage of the database loses hits on mail from within it

# The hottest path runs these statements. They are made once, because making one takes longer than running it.
_IS_MEANT = (tables.delivery.c.message == sa.bindparam("message"), tables.delivery.c.number == sa.bindparam("number"))
# The stream is the message's: deliveries that ended before the column was there have none.
_FIND_RECIPIENT = (
    sa.select(
        *(tables.delivery.c[name] for name in ("recipient", "unsubscribed_at")),
        (tables.delivery.c.opens_human + tables.delivery.c.opens_proxied).label("opens"),
        tables.delivery.c.clicks_human.label("clicks"),
        *(tables.message.c[name] for name in ("stream", "tags")),
    )
    .join(tables.message, tables.message.c.id == tables.delivery.c.message)
    .where(*_IS_MEANT)
)
# FOR UPDATE has no effect on SQLite, whose writer is alone.
_LOCK_DELIVERY = sa.select(tables.delivery).where(*_IS_MEANT).with_for_update()


class DeliveryState(NamedTuple):
    """Where a delivery stands: the columns that its next outcome depends on."""

    message: str
    number: int
    recipient: str
    orcpt: str
    status: str
    category: str
    attempts: int
    leased_by: str
    dsn_sent: str
    next_attempt_at: datetime | None
    delivered_at: datetime | None


_LOCK_STATES = (
    sa.select(*(tables.delivery.c[name] for name in DeliveryState._fields))
    .where(
        # With the pairs alone SQLite looks at all deliveries: it takes an index for values, not for rows of them.
        tables.delivery.c.message.in_(sa.bindparam("messages", expanding=True)),
        sa.tuple_(tables.delivery.c.message, tables.delivery.c.number).in_(sa.bindparam("keys", expanding=True)),
    )
    .with_for_update()
)
# SQLite's writer is alone. Read by its driver, a row takes a quarter of SQLAlchemy's time.
_FIND_STATES = (
    f"SELECT {', '.join(f'd.{name}' for name in DeliveryState._fields)} FROM json_each(?) AS wanted"  # noqa: S608
    " JOIN delivery AS d ON d.message = json_extract(wanted.value, '$[0]')"
    " AND d.number = json_extract(wanted.value, '$[1]')"
)
_UPDATE_DELIVERY = sa.update(tables.delivery).where(
    tables.delivery.c.message == sa.bindparam("of_message"), tables.delivery.c.number == sa.bindparam("of_number")
)
_UPDATE_DELIVERIES = bulk_statement.update_by(tables.delivery, "message", "number")


class UnknownDeliveryError(NotStoredYetError):
    """The delivery is not in the database: its own facts may still wait in a journal."""


def find_recipient(connection: sa.Connection, message: str, number: int) -> Any:  # Any: a row
    """Returns the recipient, `unsubscribed_at`, `opens` and `clicks` by people, and the message's stream and tags;
    None if the delivery is not known."""
    return connection.execute(_FIND_RECIPIENT, {"message": message, "number": number}).first()


def lock_row(connection: sa.Connection, message: str, number: int) -> Any:  # Any: a row of the table `delivery`
    """Returns a delivery's row, which nobody else changes before the commit; None if it is not known."""
    return connection.execute(_LOCK_DELIVERY, {"message": message, "number": number}).first()


def lock_states(connection: sa.Connection, keys: Sequence[tuple[str, int]]) -> dict[tuple[str, int], DeliveryState]:
    """Where several deliveries stand, by message and number; those that are not known are missing. Nobody else changes
    them before the commit."""
    if not keys:
        return {}
    if connection.dialect.name == "sqlite":
        states = [
            DeliveryState._make((*values, columns.from_microseconds(next_at), columns.from_microseconds(delivered_at)))
            for *values, next_at, delivered_at in bulk_statement.select(connection, _FIND_STATES, json.dumps(keys))
        ]
    else:
        named = {"keys": keys, "messages": list({message for message, _ in keys})}
        states = [DeliveryState(*row) for row in connection.execute(_LOCK_STATES, named)]
    return {(state.message, state.number): state for state in states}


def is_of_delivery(table: sa.Table, keys: Sequence[tuple[str, int]]) -> sa.ColumnElement[bool]:
    """True for rows of one of the deliveries, by message and number; an index by message finds them."""
    messages = table.c.message.in_({message for message, _ in keys})
    return sa.and_(messages, sa.tuple_(table.c.message, table.c.number).in_(keys))


def update_delivery(connection: sa.Connection, message: str, number: int, **values: object) -> None:
    """Sets columns of a delivery."""
    connection.execute(_UPDATE_DELIVERY.values(**values), {"of_message": message, "of_number": number})


def update_deliveries(connection: sa.Connection, changes: Sequence[Mapping[str, object]]) -> None:
    """Sets the same columns of several, which `of_message` and `of_number` name, each to its own values."""
    _UPDATE_DELIVERIES.run(connection, changes)


def raise_if_recent(message: str, at: datetime) -> None:
    """For a message that is not in the database: its facts may wait in a journal, or it expired long ago. Raises
    UnknownDeliveryError if it is young enough to wait."""
    if at - ids.time_of(message) < _MAX_OUTAGE:
        raise UnknownDeliveryError(message)
