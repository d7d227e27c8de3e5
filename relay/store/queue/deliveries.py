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


# Made once: making a statement takes longer than running it.
_FIND_MESSAGE_ID = sa.select(tables.message.c.id).where(tables.message.c.id == sa.bindparam("id"))
_FIND_EVENTS = sa.select(tables.event.c.id).where(tables.event.c.id.in_(sa.bindparam("ids", expanding=True)))
_INSERT_MESSAGE, _INSERT_CONTENT, _INSERT_DELIVERY, _INSERT_ATTEMPT = map(
    sa.insert, (tables.message, tables.content, tables.delivery, tables.attempt)
)
_MAX_RESULTS = 300  # in a statement: SQLite's oldest limit on variables is 999


class NewMessage(NamedTuple):
    """A message and all that is known of it when it is stored."""

    message: Annotated[Message, BeforeValidator(_validator(Message))]
    octets: bytes | None
    deliveries: list[Annotated[Delivery, BeforeValidator(_validator(Delivery))]]
    outcomes: list[Outcome]
    destinations: LongUrlRows = ()  # as `LongUrlFiles.save` returned them


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
    for one in many:
        new = redaction.redact_new_message(policy, one)
        message = new.message
        deliveries = {row.number: tables.row_values(row) | {"stream": message.stream} for row in new.deliveries}
        accepted = NewEvent(
            id=message.id,  # one of each, and both unique
            type=EventType.ACCEPTED,
            at=message.accepted_at,
            message=message.id,
            reasons=message.reasons,  # why the mail was left as it came
            detail=message.client,
        )
        happened.append(accepted)
        for given in new.outcomes:
            outcome = _apply_repeated_failure(connection, message.id, given)
            judged.append((message.id, outcome))
            deliveries[outcome.number] |= _delivery_columns(outcome) | {"attempts": _attempts_to_add(outcome)}
            happened.append(_event_of(message.id, outcome))
            attempts += _attempt_rows(message.id, outcome)
        messages.append(tables.row_values(message))
        rows += deliveries.values()
        if new.octets is not None:
            contents.append({"message": message.id, "octets": new.octets})
    connection.execute(_INSERT_MESSAGE, messages)
    for one in many:
        long_urls.insert_rows(connection, one.destinations, one.message.accepted_at)
    if contents:
        connection.execute(_INSERT_CONTENT, contents)
    connection.execute(_INSERT_DELIVERY, rows)
    events.append_events(connection, happened)
    if attempts:
        connection.execute(_INSERT_ATTEMPT, attempts)
    for message_id, outcome in judged:
        _suppress_recipient(connection, message_id, outcome)


class MessageNotStoredError(NotStoredYetError):
    """The message is not in the database: it may still wait in a journal."""


_MAX_JOURNAL_AGE = timedelta(days=30)  # a message that was accepted earlier has expired


class OutcomesFact(NamedTuple):
    """How attempts at one message ended, as a fact."""

    message: str
    outcomes: list[Outcome]
    worker: str = ""  # that held the leases


def record_outcomes(
    connection: sa.Connection, message: str, outcomes: Iterable[Outcome], worker: str = "", *, is_final: bool = False
) -> None:
    """Records how attempts at a message's deliveries ended, and ends their leases. Raises MessageNotStoredError.

    Recording an outcome twice changes nothing. If the delivery is already settled, or leased by another worker, only
    the attempt is recorded, except that a final outcome still counts, and DELIVERED always does. `is_final`: the caller
    has read the row under lock, and the outcome replaces its state (`late_reports`).
    """
    record_all_outcomes(connection, [OutcomesFact(message, list(outcomes), worker)], is_final=is_final)


def record_all_outcomes(connection: sa.Connection, facts: Sequence[OutcomesFact], *, is_final: bool = False) -> None:
    """The same for several messages, a statement for each table."""
    policy = identities.policy_for(connection)
    waiting = [
        _Result(fact.message, outcome, fact.worker)
        for fact in facts
        for outcome in redaction.redact_outcomes(policy, fact.outcomes)
    ]
    while waiting:  # of several about one delivery each finds what the one before it has written
        first: dict[tuple[str, int], _Result] = {}
        later = [one for one in waiting if first.setdefault((one.message, one.outcome.number), one) is not one]
        for at in range(0, len(first), _MAX_RESULTS):
            _record_results(connection, list(first.values())[at : at + _MAX_RESULTS], is_final=is_final)
        waiting = later


class _Result(NamedTuple):
    """How a step of one delivery ended, and who held its lease."""

    message: str
    outcome: Outcome
    worker: str


def _record_results(connection: sa.Connection, results: list[_Result], *, is_final: bool) -> None:
    """The same for results about different deliveries."""
    policy = identities.policy_for(connection)
    known = set(connection.scalars(_FIND_EVENTS, {"ids": [one.outcome.id for one in results]}))
    results = [one for one in results if one.outcome.id not in known]
    rows = delivery_rows.lock_rows(connection, [(one.message, one.outcome.number) for one in results])
    changes: list[dict[str, object]] = []
    happened: list[NewEvent] = []
    attempts: list[dict[str, object]] = []
    suppressing: list[tuple[str, Outcome]] = []
    forgotten: dict[str, list[str]] = {}
    for message, outcome, worker in results:
        row = rows.get((message, outcome.number))
        if row is None:
            if outcome.at - ids.time_of(message) < _MAX_JOURNAL_AGE:
                raise MessageNotStoredError(message)
            continue
        if not is_final and not _changes_delivery(row, outcome, worker):
            _record_attempt_only(connection, message, outcome)
            continue
        outcome = _apply_repeated_failure(connection, message, outcome)
        change = {"delivered_at": row.delivered_at, "recipient": row.recipient, "orcpt": row.orcpt}
        change |= _delivery_columns(outcome, row.dsn_sent) | {"attempts": row.attempts + _attempts_to_add(outcome)}
        if policy.redacts and not outcome.status.is_open and not change["dsn_due"]:
            forgotten.setdefault(message, []).append(row.recipient)
            change |= {"recipient": policy.event_recipient(outcome.recipient), "orcpt": ""}
        changes.append(change | {"of_message": message, "of_number": outcome.number})
        if outcome.nothing_tried and (row.status, row.category) == (outcome.status, outcome.category):
            continue
        happened.append(_event_of(message, outcome))
        attempts += _attempt_rows(message, outcome)
        suppressing.append((message, outcome))
    if changes:
        delivery_rows.update_deliveries(connection, changes)
    if happened:
        events.append_events(connection, happened)
    if attempts:
        connection.execute(_INSERT_ATTEMPT, attempts)
    for message, outcome in suppressing:
        _suppress_recipient(connection, message, outcome)
    for message, recipients in forgotten.items():
        redaction.clear_envelope(connection, message, recipients)


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
            connection.execute(_INSERT_ATTEMPT, attempt)


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
