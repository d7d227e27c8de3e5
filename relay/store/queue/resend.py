"""A message sent once more: the same octets, as a new message with its own deliveries, links and events.

In: a message whose octets are still kept, and who is to get it.  Out: a message in the queue. Its links and its pixel
carry the new message's id, so that what comes back is counted there.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from relay import address, ids
from relay.store.database import tables
from relay.store.database.rows import Delivery, Message, row_values
from relay.store.database.tables import Status
from relay.store.queue import deliveries
from relay.store.queue.queue_facts import NewMessage

_FAILED = (Status.BOUNCED, Status.EXPIRED, Status.SUPPRESSED)
_COUNTERS = frozenset(column.name for column in tables.message.c if column.name.startswith(("opens_", "clicks_")))


class CannotResendError(ValueError):
    """The message cannot be sent again; the text says why."""


class Resent(NamedTuple):
    """The new message, and to whom it goes."""

    message: str
    recipients: list[str]


def resend_message(
    connection: sa.Connection, message_id: str, now: datetime, by: str, recipients: Sequence[str] = ()
) -> Resent | None:
    """Queues the message again: for the recipients that are named; else for those whose delivery failed; where none
    did, for all that have got it. `by` says who wanted it. None if there is no such message. Raises
    CannotResendError."""
    message = deliveries.find_message(connection, message_id)
    if message is None:
        return None
    octets = deliveries.find_content(connection, message_id)
    if octets is None:
        raise CannotResendError("the mail's octets are not kept any more ([privacy] keep_content)")
    chosen = _choose(deliveries.list_deliveries(connection, message_id), recipients)
    if not all(address.domain(row.recipient) for row in chosen):
        raise CannotResendError("the recipients' addresses are not kept ([privacy] mode)")
    copied = Message(**row_values(message, left_out=_COUNTERS) | {
        "id": ids.new(now),
        "accepted_at": now,
        "expires_at": now + (message.expires_at - message.accepted_at),
        "client": f"resent {message_id} by {by}",
    })  # fmt: skip
    rows = [
        Delivery(
            message=copied.id,
            number=number,
            recipient=row.recipient,
            notify=row.notify,
            orcpt=row.orcpt,
            next_attempt_at=now,
        )
        for number, row in enumerate(chosen)
    ]
    deliveries.insert_message(connection, NewMessage(copied, octets, rows, []))
    return Resent(copied.id, [row.recipient for row in rows])


def _choose(rows: list[Delivery], recipients: Sequence[str]) -> list[Delivery]:
    if recipients:
        wanted = {address.canonical(one): one for one in recipients}
        chosen = [row for row in rows if address.canonical(row.recipient) in wanted]
        missing = set(wanted) - {address.canonical(row.recipient) for row in chosen}
        if missing:
            raise CannotResendError(f"{wanted[min(missing)]} is no recipient of this message")
    else:
        chosen = [row for row in rows if row.status in _FAILED] or [
            row for row in rows if row.status == Status.DELIVERED
        ]
        if not chosen:
            raise CannotResendError("it still waits in the queue; retry it there")
    if any(Status(row.status).is_open for row in chosen):
        raise CannotResendError("it still waits in the queue for some of these recipients; retry it there")
    return chosen
