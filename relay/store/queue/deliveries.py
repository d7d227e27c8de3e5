"""Messages with their deliveries, and the outcomes of attempts.

`insert_message` stores a message; `record_outcomes` stores how attempts ended: the delivery, the attempt, the event
and a suppression in one commit. `leases` gives due deliveries to workers; the lists and `retry_now` are for operators.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, NamedTuple

import sqlalchemy as sa
from pydantic import BeforeValidator
from sqlmodel import SQLModel

from relay import ids
from relay.event_type import EventType
from relay.store import events
from relay.store.database import delivery_rows, identities, tables
from relay.store.database.errors import NotStoredYetError
from relay.store.database.tables import Delivery, Message, Status
from relay.store.events import NewEvent
from relay.store.queue import leases, long_urls, redaction
from relay.store.queue.long_urls import LongUrlRows
from relay.store.recipients import repeated_failures, suppressions


class AttemptRecord(NamedTuple):
    """An attempt as it went. Code 0: the upstream gave no reply; `text` then says what happened."""

    upstream: str
    phase: str
    code: int
    status: str
    text: str
    took_ms: int
    uncertain: bool = False  # all was sent and no reply came: it may have arrived


class Outcome(NamedTuple):
    """How one step of a delivery ended. `id` is that of its event, so that recording it twice changes nothing."""

    id: str
    number: int
    recipient: str
    status: Status
    at: datetime
    kind: str = ""
    category: str = ""
    rule: str = ""
    attempt: AttemptRecord | None = None
    counts_as_attempt: bool = True  # False: the upstream was down, which says nothing of the delivery
    next_attempt_at: datetime | None = None
    suppress: bool = False
    tracked: bool = True
    dsn_due: str = ""  # the DSN that it asks for: failed | delayed | relayed
    is_soft_failure: bool = False  # a soft failure that is hard if it comes again (`repeated_failures`)
    nothing_tried: bool = False  # for a reason known before: one event, however long it holds


# Columns by the names that they had before revision 0015. The journal of an earlier version has its rows under these.
_EARLIER_NAMES = {
    "takes_notices": "accepts_dsn",
    "owes": "dsn_due",
    "told": "dsn_sent",
    "asides": "observations",
}


def _validator(row: type[SQLModel]) -> Callable[[Any], Any]:  # Any: pydantic gives a row or a mapping
    def validate(value: Any) -> Any:
        # SQLModel does not validate a row that it makes; one that comes back from the journal must be.
        if isinstance(value, row):
            return value
        return row.model_validate({_EARLIER_NAMES.get(name, name): column for name, column in value.items()})

    return validate


class NewMessage(NamedTuple):
    """A message and all that is known of it when it is stored."""

    message: Annotated[Message, BeforeValidator(_validator(Message))]
    octets: bytes | None
    deliveries: list[Annotated[Delivery, BeforeValidator(_validator(Delivery))]]
    outcomes: list[Outcome]
    destinations: LongUrlRows = ()  # as `LongUrlFiles.save` returned them


def insert_message(connection: sa.Connection, new: NewMessage) -> None:
    """Stores a message, its deliveries and how the first attempts ended. Doing so twice changes nothing."""
    new = redaction.redact_new_message(identities.policy_for(connection), new)
    message = new.message
    if connection.scalar(sa.select(tables.message.c.id).where(tables.message.c.id == message.id)):
        return
    deliveries = {row.number: tables.row_values(row) | {"stream": message.stream} for row in new.deliveries}
    accepted = NewEvent(
        id=message.id,  # one of each, and both unique
        type=EventType.ACCEPTED,
        at=message.accepted_at,
        message=message.id,
        reasons=message.reasons,  # why the mail was left as it came
        detail=message.client,
    )
    happened, attempts = [accepted], []
    outcomes = [_apply_repeated_failure(connection, message.id, outcome) for outcome in new.outcomes]
    for outcome in outcomes:
        deliveries[outcome.number] |= _delivery_columns(outcome) | {"attempts": _attempts_to_add(outcome)}
        happened.append(_event_of(message.id, outcome))
        attempts += _attempt_rows(message.id, outcome)
    connection.execute(sa.insert(tables.message), tables.row_values(message))
    long_urls.insert_rows(connection, new.destinations, message.accepted_at)
    if new.octets is not None:
        connection.execute(sa.insert(tables.content), {"message": message.id, "octets": new.octets})
    connection.execute(sa.insert(tables.delivery), list(deliveries.values()))
    events.append_events(connection, happened)
    if attempts:
        connection.execute(sa.insert(tables.attempt), attempts)
    for outcome in outcomes:
        _suppress_recipient(connection, message.id, outcome)


class MessageNotStoredError(NotStoredYetError):
    """The message is not in the database: it may still wait in a journal."""


_MAX_JOURNAL_AGE = timedelta(days=30)  # a message that was accepted earlier has expired


def record_outcomes(
    connection: sa.Connection, message: str, outcomes: Iterable[Outcome], worker: str = "", *, is_final: bool = False
) -> None:
    """Records how attempts at a message's deliveries ended, and ends their leases. Raises MessageNotStoredError.

    Recording an outcome twice changes nothing. If the delivery is already settled, or leased by another worker, only
    the attempt is recorded, except that a final outcome still counts, and DELIVERED always does. `is_final`: the caller
    has read the row under lock, and the outcome replaces its state (`late_reports`).
    """
    policy = identities.policy_for(connection)
    forgotten: list[str] = []
    for outcome in redaction.redact_outcomes(policy, outcomes):
        if connection.scalar(sa.select(tables.event.c.id).where(tables.event.c.id == outcome.id)):
            continue
        row = delivery_rows.lock_row(connection, message, outcome.number)
        if row is None:
            if outcome.at - ids.time_of(message) < _MAX_JOURNAL_AGE:
                raise MessageNotStoredError(message)
            continue
        if not is_final and not _changes_delivery(row, outcome, worker):
            _record_attempt_only(connection, message, outcome)
            continue
        outcome = _apply_repeated_failure(connection, message, outcome)
        change = _delivery_columns(outcome, row.dsn_sent)
        if policy.redacts and not outcome.status.is_open and not change["dsn_due"]:
            forgotten.append(row.recipient)
            change |= {"recipient": policy.event_recipient(outcome.recipient), "orcpt": ""}
        attempts = tables.delivery.c.attempts + _attempts_to_add(outcome)
        delivery_rows.update_delivery(connection, message, outcome.number, **change, attempts=attempts)
        if outcome.nothing_tried and (row.status, row.category) == (outcome.status, outcome.category):
            continue
        events.append_events(connection, [_event_of(message, outcome)])
        for attempt in _attempt_rows(message, outcome):
            connection.execute(sa.insert(tables.attempt), attempt)
        _suppress_recipient(connection, message, outcome)
    if forgotten:
        redaction.clear_envelope(connection, message, forgotten)


def _apply_repeated_failure(connection: sa.Connection, message: str, outcome: Outcome) -> Outcome:
    """Returns the outcome, as a hard bounce if the soft failure has come again."""
    # In aggregate mode deliveries have no recipient: a delivery in between, which clears the count, is not seen.
    can_tell = identities.policy_for(connection).mode != "aggregate"
    if not outcome.is_soft_failure or not can_tell:
        return outcome
    if repeated_failures.is_repeated(connection, outcome.recipient, outcome.category, outcome.at, message):
        return outcome._replace(kind="hard", suppress=True)
    return outcome


def _changes_delivery(row: Any, outcome: Outcome, worker: str) -> bool:  # Any: a delivery's row
    """True if the outcome decides the delivery's state."""
    if not Status(row.status).is_open:
        return outcome.status is Status.DELIVERED and row.status != Status.DELIVERED and outcome.attempt is not None
    if not outcome.status.is_open:
        return True
    if row.leased_by:
        return row.leased_by == worker or not worker
    return row.next_attempt_at is None or row.next_attempt_at <= outcome.at  # else a later attempt has set it


def _record_attempt_only(connection: sa.Connection, message: str, outcome: Outcome) -> None:
    """Records an attempt that decided nothing, once."""
    table = tables.attempt
    for attempt in _attempt_rows(message, outcome):
        same = sa.select(table.c.id).filter_by(message=message, number=outcome.number, at=outcome.at)
        if connection.scalar(same.limit(1)) is None:
            connection.execute(sa.insert(table), attempt)


def _delivery_columns(outcome: Outcome, dsn_sent: str = "") -> dict[str, object]:
    """A delivery's columns after that outcome."""
    return ({"delivered_at": outcome.at} if outcome.status is Status.DELIVERED else {}) | {
        "status": outcome.status,
        "kind": outcome.kind,
        "category": outcome.category,
        "next_attempt_at": outcome.next_attempt_at,
        "leased_by": "",
        "leased_until": None,
        "crashes": 0,
        "dsn_due": outcome.dsn_due if outcome.dsn_due != dsn_sent else "",
        "settled_at": None if outcome.status.is_open else outcome.at,
        "tracked": outcome.tracked,
    }


def _attempts_to_add(outcome: Outcome) -> int:
    return 1 if outcome.attempt and outcome.counts_as_attempt else 0


def _attempt_rows(message: str, outcome: Outcome) -> list[dict[str, object]]:
    if outcome.attempt is None:
        return []
    return [
        {"message": message, "number": outcome.number, "at": outcome.at, "rule": outcome.rule}
        | outcome.attempt._asdict()
    ]


def _event_of(message: str, outcome: Outcome) -> NewEvent:
    return NewEvent(
        id=outcome.id,
        type=EventType(outcome.status.value),
        at=outcome.at,
        message=message,
        number=outcome.number,
        recipient=outcome.recipient,
        reasons=[outcome.category] if outcome.category else [],
        detail=reply_text(outcome.attempt, outcome.rule),
    )


def reply_text(attempt: AttemptRecord | None, rule: str) -> str:
    """The reply as it came: code, enhanced status and text; or the rule where nothing was tried."""
    if attempt is None:
        return rule
    return " ".join(str(part) for part in (attempt.code, attempt.status, attempt.text) if part)


def _suppress_recipient(connection: sa.Connection, message: str, outcome: Outcome) -> None:
    if outcome.suppress:
        suppressions.add_suppression(
            connection,
            outcome.recipient,
            reason=suppressions.HARD_BOUNCE,
            at=outcome.at,
            evidence=reply_text(outcome.attempt, outcome.rule),
            message="" if identities.policy_for(connection).mode == "aggregate" else message,
        )


def find_message(connection: sa.Connection, message_id: str) -> Message | None:
    """A message's row."""
    row = connection.execute(sa.select(tables.message).where(tables.message.c.id == message_id)).mappings().first()
    return Message(**row) if row is not None else None


def find_content(connection: sa.Connection, message_id: str) -> bytes | None:
    """A message's octets as they were accepted; None if they are deleted."""
    kept: bytes | None = connection.scalar(
        sa.select(tables.content.c.octets).where(tables.content.c.message == message_id)
    )
    return kept


def find_with_content(connection: sa.Connection, message_id: str) -> tuple[Message, bytes] | None:
    """A message and its octets; None if either is gone."""
    row, kept = find_message(connection, message_id), find_content(connection, message_id)
    return (row, kept) if row is not None and kept is not None else None


def list_open_deliveries(connection: sa.Connection, limit: int) -> Sequence[sa.RowMapping]:
    """Deliveries that still wait, the next due first."""
    table, message = tables.delivery, tables.message
    return (
        connection.execute(
            sa.select(table, message.c.subject, message.c.author)
            .join(message, message.c.id == table.c.message)
            .where(table.c.next_attempt_at.is_not(None))
            .order_by(table.c.next_attempt_at)
            .limit(limit)
        )
        .mappings()
        .all()
    )


def list_deliveries(connection: sa.Connection, message_id: str, number: int | None = None) -> list[Delivery]:
    """A message's deliveries, or the one of that number, in order."""
    table = tables.delivery
    wanted = sa.select(table).where(table.c.message == message_id).order_by(table.c.number)
    if number is not None:
        wanted = wanted.where(table.c.number == number)
    return [Delivery(**row) for row in connection.execute(wanted).mappings()]


def resume_waiting_for_login(connection: sa.Connection, now: datetime, logins: Collection[str]) -> None:
    """Makes deliveries due that wait for those users' credentials."""
    table, message = tables.delivery, tables.message
    theirs = sa.select(message.c.id).where(message.c.login.in_(logins))
    connection.execute(
        sa.update(table)
        .where(
            table.c.next_attempt_at > now,
            table.c.category == "upstream_auth",
            table.c.crashes < leases.MAX_CRASHES,
            table.c.message.in_(theirs),
        )
        .values(next_attempt_at=now)
    )


def retry_now(connection: sa.Connection, now: datetime, message: str | None = None, number: int | None = None) -> int:
    """Makes waiting deliveries due now: of one message or one delivery, also where they are parked; or all that are
    not. Returns how many."""
    table = tables.delivery
    due = sa.update(table).where(table.c.next_attempt_at.is_not(None))
    if message is None:
        due = due.where(table.c.crashes < leases.MAX_CRASHES)
    else:
        due = due.where(table.c.message == message).values(crashes=0)
    if number is not None:
        due = due.where(table.c.number == number)
    return connection.execute(due.values(next_attempt_at=now)).rowcount
