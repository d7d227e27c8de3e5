"""Messages as the store is given them, without the mail itself."""

import os
from datetime import UTC, datetime, timedelta
from functools import partial

import sqlalchemy as sa

from relay import ids
from relay.store.database.rows import Delivery, Message
from relay.store.database.tables import Status
from relay.store.queue import deliveries, queue_facts
from relay.store.store import Store

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)


def new_message(
    *recipients: str, status: Status = Status.QUEUED, at: datetime = NOW, stream: str = "", octets: bytes = b"octets"
) -> queue_facts.NewMessage:
    """A message to these, due when it was accepted."""
    made = ids.from_parts(int(at.timestamp() * 1000), os.urandom(6))
    message = Message(
        id=made,
        accepted_at=at,
        expires_at=at + timedelta(days=5),
        subject=recipients[0],
        stream=stream,
        reverse_path="app@sender.test",
    )
    due = at if status.is_open else None
    rows = [
        Delivery(message=made, number=number, recipient=recipient, status=status, next_attempt_at=due)
        for number, recipient in enumerate(recipients)
    ]
    return queue_facts.NewMessage(message, octets, rows, [])


def insert_messages(opened: Store, *new_messages: queue_facts.NewMessage) -> None:
    for one in new_messages:
        opened.writer.submit(partial(deliveries.insert_message, new=one)).result(60)


def count_rows(opened: Store, table: sa.Table) -> int:
    with opened.connect() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
