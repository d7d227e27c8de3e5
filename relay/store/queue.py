"""What is to be delivered and what became of it.

`file` takes a message in; `lease` hands out what is due; `settle` writes down how attempts ended: the
delivery, the attempt, the event and a suppression in one commit.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import sqlalchemy as sa
from pydantic import BeforeValidator
from sqlmodel import SQLModel

from relay.store import strikes, suppressions, tables
from relay.store.tables import Delivery, Event, EventType, Message, Status


class Try(NamedTuple):
    """An attempt as it went. Code 0: the upstream gave no reply; `text` then says what happened."""

    upstream: str
    phase: str
    code: int
    status: str
    text: str
    took_ms: int


class Outcome(NamedTuple):
    """How one step of a delivery ended. `id` is its event's, so that a second telling changes nothing."""

    id: str
    number: int
    recipient: str
    status: Status
    at: datetime
    kind: str = ""
    category: str = ""
    rule: str = ""
    tried: Try | None = None
    counts: bool = True  # False: the upstream was out, which is not the delivery's fault
    next_attempt_at: datetime | None = None
    suppress: bool = False
    tracked: bool = True
    counts_against: bool = False  # a soft failure that is hard if it comes again (`strikes`)


def _read(row: type[SQLModel]) -> Callable[[Any], Any]:  # Any: pydantic gives a row or a mapping
    # SQLModel does not validate a row that it makes; one that comes back from the journal must be.
    return lambda value: value if isinstance(value, row) else row.model_validate(value)


class Filing(NamedTuple):
    """A message and all that is known of it when it is first written down."""

    message: Annotated[Message, BeforeValidator(_read(Message))]
    octets: bytes | None
    deliveries: list[Annotated[Delivery, BeforeValidator(_read(Delivery))]]
    outcomes: list[Outcome]


def file(session: sa.Connection, filing: Filing) -> None:
    """Writes a message, its deliveries and how the first attempts ended. A second filing changes nothing."""
    message = filing.message
    if session.scalar(sa.select(tables.message.c.id).where(tables.message.c.id == message.id)):
        return
    deliveries = {row.number: tables.values(row) for row in filing.deliveries}
    accepted = Event(
        id=message.id,  # one of each, and both unique
        type=EventType.ACCEPTED,
        at=message.accepted_at,
        message=message.id,
        reasons=message.reasons,  # why it passes as it came, where it does
        detail=message.client,
    )
    events, attempts = [tables.values(accepted)], []
    outcomes = [_judged(session, outcome) for outcome in filing.outcomes]
    for outcome in outcomes:
        deliveries[outcome.number] |= _standing(outcome) | {"attempts": _count(outcome)}
        events.append(_event(message.id, outcome))
        attempts += _attempt(message.id, outcome)
    session.execute(sa.insert(tables.message), tables.values(message))
    if filing.octets is not None:
        session.execute(sa.insert(tables.content), {"message": message.id, "octets": filing.octets})
    session.execute(sa.insert(tables.delivery), list(deliveries.values()))
    session.execute(sa.insert(tables.event), events)
    if attempts:
        session.execute(sa.insert(tables.attempt), attempts)
    for outcome in outcomes:
        _suppress(session, message.id, outcome)


def settle(session: sa.Connection, message: str, outcomes: Iterable[Outcome]) -> None:
    """Writes down how attempts at a message's deliveries ended, and lets go of their leases."""
    table = tables.delivery
    for outcome in outcomes:
        if session.scalar(sa.select(tables.event.c.id).where(tables.event.c.id == outcome.id)):
            continue
        outcome = _judged(session, outcome)
        session.execute(
            sa.update(table)
            .where(table.c.message == message, table.c.number == outcome.number)
            .values(**_standing(outcome), attempts=table.c.attempts + _count(outcome))
        )
        session.execute(sa.insert(tables.event), _event(message, outcome))
        for attempt in _attempt(message, outcome):
            session.execute(sa.insert(tables.attempt), attempt)
        _suppress(session, message, outcome)


def _judged(session: sa.Connection, outcome: Outcome) -> Outcome:
    """The outcome, hard if it is a soft one that has come again."""
    if outcome.counts_against and strikes.again(session, outcome.recipient, outcome.category, outcome.at):
        return outcome._replace(kind="hard", suppress=True)
    return outcome


def _standing(outcome: Outcome) -> dict[str, object]:
    """A delivery's columns after that outcome."""
    return {
        "status": outcome.status,
        "kind": outcome.kind,
        "category": outcome.category,
        "next_attempt_at": outcome.next_attempt_at,
        "leased_by": "",
        "leased_until": None,
        "settled_at": None if outcome.status.is_open else outcome.at,
        "tracked": outcome.tracked,
    }


def _count(outcome: Outcome) -> int:
    return 1 if outcome.tried and outcome.counts else 0


def _attempt(message: str, outcome: Outcome) -> list[dict[str, object]]:
    if outcome.tried is None:
        return []
    return [
        {"message": message, "number": outcome.number, "at": outcome.at, "rule": outcome.rule} | outcome.tried._asdict()
    ]


def _event(message: str, outcome: Outcome) -> dict[str, Any]:  # Any: a row's values
    row = Event(
        id=outcome.id,
        type=EventType(outcome.status.value),
        at=outcome.at,
        message=message,
        number=outcome.number,
        recipient=outcome.recipient,
        reasons=[outcome.category] if outcome.category else [],
        detail=_evidence(outcome),
    )
    return tables.values(row)


def _evidence(outcome: Outcome) -> str:
    """The very reply, or the rule where there was none."""
    tried = outcome.tried
    return " ".join(str(part) for part in (tried.code, tried.status, tried.text) if part) if tried else outcome.rule


def _suppress(session: sa.Connection, message: str, outcome: Outcome) -> None:
    if outcome.suppress:
        suppressions.add(
            session,
            outcome.recipient,
            reason=suppressions.HARD_BOUNCE,
            at=outcome.at,
            evidence=_evidence(outcome),
            message=message,
        )


def lease(session: sa.Connection, now: datetime, until: datetime, worker: str, limit: int) -> dict[str, list[Delivery]]:
    """What is due, by message id, leased to `worker` until `until`. A lapsed lease counts as due."""
    table = tables.delivery
    # SKIP LOCKED has no effect on SQLite, whose writer is alone.
    due = _due(now).order_by(table.c.next_attempt_at).limit(limit).with_for_update(skip_locked=True)
    rows = [Delivery(**row) for row in session.execute(due).mappings()]
    by_message: dict[str, list[Delivery]] = {}
    for row in rows:
        by_message.setdefault(row.message, []).append(row)
    for message, deliveries in by_message.items():
        session.execute(
            sa.update(table)
            .where(table.c.message == message, table.c.number.in_([row.number for row in deliveries]))
            .values(leased_by=worker, leased_until=until)
        )
    return by_message


def release(session: sa.Connection, worker: str | None = None) -> None:
    """Gives back the leases of a worker that has stopped; of all, where none can be running."""
    table = tables.delivery
    held = sa.update(table).values(leased_by="", leased_until=None)
    mine = table.c.leased_by != "" if worker is None else table.c.leased_by.startswith(worker)
    session.execute(held.where(mine))


def _due(now: datetime) -> sa.Select[Any]:  # Any: a whole row
    table = tables.delivery
    return sa.select(table).where(
        table.c.next_attempt_at <= now,
        sa.or_(table.c.leased_until.is_(None), table.c.leased_until < now),
    )


def is_due(session: sa.Connection, now: datetime) -> bool:
    """True if a delivery is due that nobody holds."""
    return session.execute(_due(now).limit(1)).first() is not None


def fetch(session: sa.Connection, message: str) -> tuple[Message, bytes] | None:
    """A message and its octets; None if either is gone."""
    row = session.execute(sa.select(tables.message).where(tables.message.c.id == message)).mappings().first()
    octets = session.scalar(sa.select(tables.content.c.octets).where(tables.content.c.message == message))
    return (Message(**row), octets) if row is not None and octets is not None else None


def open_deliveries(session: sa.Connection, limit: int) -> Sequence[sa.RowMapping]:
    """Deliveries that still wait, the next due first."""
    table, message = tables.delivery, tables.message
    return (
        session.execute(
            sa.select(table, message.c.subject, message.c.author)
            .join(message, message.c.id == table.c.message)
            .where(table.c.next_attempt_at.is_not(None))
            .order_by(table.c.next_attempt_at)
            .limit(limit)
        )
        .mappings()
        .all()
    )


def retry(session: sa.Connection, now: datetime, message: str | None = None) -> int:
    """Makes waiting deliveries due now: of one message, or all. Returns how many."""
    table = tables.delivery
    due = sa.update(table).where(table.c.next_attempt_at.is_not(None)).values(next_attempt_at=now)
    if message is not None:
        due = due.where(table.c.message == message)
    return session.execute(due).rowcount
