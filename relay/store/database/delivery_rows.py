"""Reading and changing a delivery's row, for those who know its message and number."""

from datetime import datetime, timedelta

import sqlalchemy as sa

from relay import ids
from relay.store.database import tables
from relay.store.database.errors import NotStoredYetError

_MAX_OUTAGE = timedelta(days=1)  # a longer outage of the database loses hits on mail from within it

# The hottest path runs this statement. It is made once, because making it takes longer than running it.
_FIND_DELIVERY = (
    sa.select(tables.delivery.c.recipient, tables.delivery.c.unsubscribed_at, tables.message.c.stream)
    .join(tables.message, tables.message.c.id == tables.delivery.c.message)
    .where(tables.delivery.c.message == sa.bindparam("message"), tables.delivery.c.number == sa.bindparam("number"))
)


class UnknownDeliveryError(NotStoredYetError):
    """The delivery is not in the database: its own facts may still wait in a journal."""


def find_delivery(connection: sa.Connection, message: str, number: int) -> sa.Row[str, datetime | None, str] | None:
    """Returns the recipient, `unsubscribed_at` and the message's stream; None if the delivery is not known."""
    return connection.execute(_FIND_DELIVERY, {"message": message, "number": number}).first()


def update_delivery(connection: sa.Connection, message: str, number: int, **values: object) -> None:
    """Sets columns of a delivery."""
    table = tables.delivery
    connection.execute(sa.update(table).where(table.c.message == message, table.c.number == number).values(**values))


def raise_if_recent(message: str, at: datetime) -> None:
    """For a message that is not in the database: its facts may wait in a journal, or it expired long ago. Raises
    UnknownDeliveryError if it is young enough to wait."""
    if at - ids.time_of(message) < _MAX_OUTAGE:
        raise UnknownDeliveryError(message)
