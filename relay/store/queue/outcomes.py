"""How attempts at deliveries ended, and how that is stored.

In: the outcomes of attempts.  Out: for each one the delivery, the attempt, the event and a suppression, in one commit.
Recording an outcome twice changes nothing.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import NamedTuple

import sqlalchemy as sa

from relay import ids, suppression_reason
from relay.event_type import EventType
from relay.store import events
from relay.store.database import bulk_statement, delivery_rows, identities, notifications, tables
from relay.store.database.delivery_rows import DeliveryState
from relay.store.database.errors import NotStoredYetError
from relay.store.database.tables import Status
from relay.store.events import NewEvent
from relay.store.queue import redaction
from relay.store.queue.queue_facts import AttemptRecord, Outcome, OutcomesFact
from relay.store.recipients import repeated_failures, suppressions

_INSERT_ATTEMPT = bulk_statement.insert_into(tables.attempt)
_EVENT_TYPES: dict[Status, EventType] = {
    status: EventType(status.value) for status in Status if status is not Status.QUEUED
}
_MAX_RESULTS = 300  # in a statement: SQLite's oldest limit on variables is 999


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
    known = events.find_recorded(connection, [one.outcome.id for one in results])
    results = [one for one in results if one.outcome.id not in known]
    rows = delivery_rows.lock_states(connection, [(one.message, one.outcome.number) for one in results])
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
        outcome = apply_repeated_failure(connection, message, outcome)
        change: dict[str, object] = {"delivered_at": row.delivered_at, "recipient": row.recipient, "orcpt": row.orcpt}
        change |= delivery_columns(outcome, row.dsn_sent) | {"attempts": row.attempts + attempts_to_add(outcome)}
        if policy.redacts and not outcome.status.is_open and not change["dsn_due"]:
            forgotten.setdefault(message, []).append(row.recipient)
            change |= {"recipient": policy.event_recipient(outcome.recipient), "orcpt": ""}
        changes.append(change | {"of_message": message, "of_number": outcome.number})
        if outcome.nothing_tried and (row.status, row.category) == (outcome.status, outcome.category):
            continue
        happened.append(event_of(message, outcome))
        attempts += attempt_rows(message, outcome)
        suppressing.append((message, outcome))
    if changes:
        delivery_rows.update_deliveries(connection, changes)
        if any(one["next_attempt_at"] or one["dsn_due"] for one in changes):
            notifications.notify(connection, notifications.QUEUE)
    if happened:
        events.append_events(connection, happened)
    insert_attempts(connection, attempts)
    for message, outcome in suppressing:
        suppress_recipient(connection, message, outcome)
    for message, recipients in forgotten.items():
        redaction.clear_envelope(connection, message, recipients)


def apply_repeated_failure(connection: sa.Connection, message: str, outcome: Outcome) -> Outcome:
    """Returns the outcome, as a hard bounce if the soft failure has come again."""
    if not outcome.is_soft_failure:
        return outcome
    # In aggregate mode deliveries have no recipient: a delivery in between, which clears the count, is not seen.
    if identities.policy_for(connection).mode == "aggregate":
        return outcome
    if repeated_failures.is_repeated(connection, outcome.recipient, outcome.category, outcome.at, message):
        return outcome._replace(kind="hard", suppress=True)
    return outcome


def _changes_delivery(row: DeliveryState, outcome: Outcome, worker: str) -> bool:
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
    for attempt in attempt_rows(message, outcome):
        same = sa.select(table.c.id).filter_by(message=message, number=outcome.number, at=outcome.at)
        if connection.scalar(same.limit(1)) is None:
            _INSERT_ATTEMPT.run(connection, [attempt])


def delivery_columns(outcome: Outcome, dsn_sent: str = "") -> dict[str, object]:
    """A delivery's columns after that outcome."""
    return ({"delivered_at": outcome.at} if outcome.status is Status.DELIVERED else {}) | {
        "status": str(outcome.status),
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


def attempts_to_add(outcome: Outcome) -> int:
    """By how much the outcome raises the delivery's number of attempts."""
    return 1 if outcome.attempt and outcome.counts_as_attempt else 0


def attempt_rows(message: str, outcome: Outcome) -> list[dict[str, object]]:
    """The rows of the attempt that the outcome came from: one, or none if nothing was tried."""
    if outcome.attempt is None:
        return []
    return [
        {"message": message, "number": outcome.number, "at": outcome.at, "rule": outcome.rule}
        | outcome.attempt._asdict()
        | {"phase": str(outcome.attempt.phase)}
    ]


def insert_attempts(connection: sa.Connection, rows: list[dict[str, object]]) -> None:
    """Inserts rows of `attempt_rows`."""
    _INSERT_ATTEMPT.run(connection, rows)


def event_of(message: str, outcome: Outcome) -> NewEvent:
    """The event of a delivery's history that the outcome makes."""
    return NewEvent(
        id=outcome.id,
        type=_EVENT_TYPES[outcome.status],
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
    if attempt.code and attempt.status and attempt.text:
        return f"{attempt.code} {attempt.status} {attempt.text}"
    return " ".join(str(part) for part in (attempt.code, attempt.status, attempt.text) if part)


def suppress_recipient(connection: sa.Connection, message: str, outcome: Outcome) -> None:
    """Suppresses the recipient if the outcome asks for that."""
    if outcome.suppress:
        suppressions.add_suppression(
            connection,
            outcome.recipient,
            reason=suppression_reason.HARD_BOUNCE,
            at=outcome.at,
            evidence=reply_text(outcome.attempt, outcome.rule),
            message="" if identities.policy_for(connection).mode == "aggregate" else message,
        )
