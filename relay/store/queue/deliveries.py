"""Messages with their deliveries.

`insert_message` stores a message with how its first attempts ended. `outcomes` records how later ones end, and `leases`
gives due deliveries to workers. The lists are for operators; `queue_actions` is what they do.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from relay.event_type import EventType
from relay.store import events, message_labels, message_words
from relay.store.database import bulk_statement, identities, notifications, roll_ups, tables
from relay.store.database.roll_ups import StreamAndTags
from relay.store.database.rows import Delivery, Message, row_values
from relay.store.events import NewEvent
from relay.store.queue import content_files, leases, long_urls, outcomes, redaction
from relay.store.queue.queue_facts import NewMessage, Outcome

# Made once: making a statement takes longer than running it.
_FIND_MESSAGE_ID = sa.select(tables.message.c.id).where(tables.message.c.id == sa.bindparam("id"))
_INSERT_MESSAGE, _INSERT_CONTENT, _INSERT_DELIVERY = map(
    bulk_statement.insert_into, (tables.message, tables.content, tables.delivery)
)


def insert_message(connection: sa.Connection, new: NewMessage) -> None:
    """Stores a message, its deliveries and how the first attempts ended. Doing so twice changes nothing."""
    if connection.scalar(_FIND_MESSAGE_ID, {"id": new.message.id}) is None:
        insert_messages(connection, [new])


def insert_messages(connection: sa.Connection, many: Sequence[NewMessage]) -> None:
    """The same for several, a statement for each table. Raises sqlalchemy.exc.IntegrityError if one is there."""
    policy = identities.policy_for(connection)
    messages: list[dict[str, Any]] = []  # Any: a row's values
    contents: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    attempts: list[dict[str, Any]] = []
    happened: list[NewEvent] = []
    judged: list[tuple[str, Outcome]] = []
    groups: dict[str, StreamAndTags] = {}
    for one in many:
        new = redaction.redact_new_message(policy, one)
        message = new.message
        deliveries = {row.number: row_values(row) | {"stream": message.stream} for row in new.deliveries}
        accepted = NewEvent(
            id=message.id,  # a message has one such event, so that its id can be the event's too
            type=EventType.ACCEPTED,
            at=message.accepted_at,
            message=message.id,
            reasons=message.reasons,  # why the mail was left as it came
            detail=message.client,
        )
        happened.append(accepted)
        for new_outcome in new.outcomes:
            outcome = outcomes.apply_repeated_failure(connection, message.id, new_outcome)
            judged.append((message.id, outcome))
            deliveries[outcome.number] |= outcomes.delivery_columns(outcome) | {
                "attempts": outcomes.attempts_to_add(outcome)
            }
            happened.append(outcomes.event_of(message.id, outcome))
            attempts += outcomes.attempt_rows(message.id, outcome)
        messages.append(row_values(message))
        groups[message.id] = StreamAndTags(message.stream, message.tags)
        rows += deliveries.values()
        if new.octets is not None or new.in_file:
            contents.append({"message": message.id, "octets": new.octets or b"", "in_file": new.in_file})
    _INSERT_MESSAGE.run(connection, messages)
    message_labels.insert_labels(connection, messages)
    message_words.mark_due(connection, [one.message.id for one in many])
    for one in many:
        long_urls.insert_rows(connection, one.destinations, one.message.accepted_at)
    _INSERT_CONTENT.run(connection, contents)
    _INSERT_DELIVERY.run(connection, rows)
    if any(row["next_attempt_at"] and not row["leased_by"] for row in rows):
        notifications.notify(connection, notifications.QUEUE)
    events.append_events(connection, happened, groups)
    roll_ups.remember_streams_and_tags(groups)
    outcomes.insert_attempts(connection, attempts)
    for message_id, outcome in judged:
        outcomes.suppress_recipient(connection, message_id, outcome)


def find_message(connection: sa.Connection, message_id: str) -> Message | None:
    """A message's row."""
    row = connection.execute(sa.select(tables.message).where(tables.message.c.id == message_id)).mappings().first()
    return Message(**row) if row is not None else None


def find_content(connection: sa.Connection, message_id: str) -> bytes | None:
    """A message's octets as they were accepted; None if they are deleted."""
    content = tables.content
    row = connection.execute(sa.select(content.c.octets, content.c.in_file).filter_by(message=message_id)).first()
    if row is None:
        return None
    return content_files.read_octets(connection, message_id) if row.in_file else row.octets


def find_delivery(connection: sa.Connection, message: str, number: int) -> Delivery | None:
    """Returns a delivery; None if it is not known."""
    return next(iter(list_deliveries(connection, message, number)), None)


def find_with_content(connection: sa.Connection, message_id: str) -> tuple[Message, bytes] | None:
    """A message and its octets; None if either is gone."""
    row, octets = find_message(connection, message_id), find_content(connection, message_id)
    return (row, octets) if row is not None and octets is not None else None


def list_deliveries(connection: sa.Connection, message_id: str, number: int | None = None) -> list[Delivery]:
    """A message's deliveries, or the one of that number, in order."""
    table = tables.delivery
    query = sa.select(table).where(table.c.message == message_id).order_by(table.c.number)
    if number is not None:
        query = query.where(table.c.number == number)
    return [Delivery(**row) for row in connection.execute(query).mappings()]


def resume_waiting_for_login(connection: sa.Connection, now: datetime, logins: Collection[str]) -> None:
    """Makes deliveries due that wait for those users' credentials."""
    table, message = tables.delivery, tables.message
    messages_of_logins = sa.select(message.c.id).where(message.c.login.in_(logins))
    connection.execute(
        sa.update(table)
        .where(
            table.c.next_attempt_at > now,
            table.c.category == "upstream_auth",
            table.c.crashes < leases.MAX_CRASHES,
            table.c.held_at.is_(None),
            table.c.message.in_(messages_of_logins),
        )
        .values(next_attempt_at=now)
    )
