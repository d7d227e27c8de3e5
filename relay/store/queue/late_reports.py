"""What is told of a delivery after it has left us: bounces, delays and complaints, by mail or by a provider's webhook.

In: a Tiding, which names the delivery.  Out: the same rows as a live reply leaves, in the same commit. A second
telling changes nothing, and tidings may come in any order: the later time decides, a complaint always counts.
"""

from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

import sqlalchemy as sa

from relay import ids
from relay.store.database import delivery_rows, identities, tables
from relay.store.database.tables import Delivery, Event, EventType, Status
from relay.store.queue import deliveries, dsn_due
from relay.store.queue.deliveries import Outcome, Try
from relay.store.recipients import repeated_failures, suppressions
from relay.store.tracking import hits
from relay.store.tracking.hits import Hit
from relay.store.webhooks import outbox

_RECENT = timedelta(days=30)  # mail of which its upstream still tells
_CLOCKS_DIFFER = timedelta(minutes=5)
_MOST_LOOKED_AT = 1000  # recipients of mail with one Message-ID
_LEAST_RECEIPT = 8  # characters; less stands in any text by chance
PHASE = "report"  # of the attempts that these leave
_FAILED = (Status.BOUNCED, Status.EXPIRED, Status.SUPPRESSED)


class Tiding(NamedTuple):
    """What is told. `type` is bounced, deferred, delivered, complained or unsubscribed; `source` is the teller's own
    id of it, if there is one."""

    id: str  # of the event that it becomes
    type: EventType
    at: datetime
    message: str
    number: int
    tried: Try
    kind: str = ""
    category: str = ""
    rule: str = ""
    suppress: bool = False
    counts_against: bool = False
    reasons: tuple[str, ...] = ()
    source: str = ""
    tells: bool = False  # the app hears of it from us alone: the mail went under a reverse-path of ours


class Clues(NamedTuple):
    """What a teller knows of a delivery: the recipient, and the mail's Message-ID (without brackets) or the id that our
    upstream gave it in its 250."""

    recipient: str
    at: datetime
    message_id: str = ""
    receipt: str = ""


class Judged(Protocol):
    """A verdict of `relay.bounce.classify`."""

    @property
    def kind(self) -> str: ...
    @property
    def category(self) -> str: ...
    @property
    def rule(self) -> str: ...
    @property
    def suppress(self) -> bool: ...


def failed(tiding: Tiding, verdict: Judged, *, suppress_hard: bool) -> Tiding:
    """The tiding of a failure, as judged. Whoever tells it has given up: it is soft at least."""
    return tiding._replace(
        kind="soft" if verdict.kind == "none" else str(verdict.kind),
        category=verdict.category,
        rule=verdict.rule,
        suppress=verdict.suppress and suppress_hard,
        counts_against=verdict.category in repeated_failures.COUNTED and suppress_hard,
    )


def find(connection: sa.Connection, clues: Clues) -> tuple[str, int] | None:
    """Message and number of the delivery that is meant; None if there is none. The recipient must agree in any case."""
    message, delivery = tables.message, tables.delivery
    known = identities.of(connection)
    wanted = sa.select(delivery.c.message, delivery.c.number, delivery.c.recipient).order_by(delivery.c.message.desc())
    if clues.message_id:
        written = (clues.message_id, f"<{clues.message_id}>")  # as the app wrote it, or as we made it
        for row in connection.execute(
            wanted.join(message, message.c.id == delivery.c.message)
            .where(message.c.message_id.in_(written), message.c.accepted_at <= clues.at + _CLOCKS_DIFFER)
            .limit(_MOST_LOOKED_AT)
        ):
            if set(known.names(row.recipient)) & set(known.names(clues.recipient)):
                return row.message, row.number
    if len(clues.receipt) >= _LEAST_RECEIPT:
        attempt = tables.attempt
        names = {clues.recipient, *known.names(clues.recipient)}
        tried = sa.exists().where(
            attempt.c.message == delivery.c.message,
            attempt.c.number == delivery.c.number,
            attempt.c.code.between(200, 299),
            sa.or_(
                attempt.c.text.contains(clues.receipt, autoescape=True),
                attempt.c.text.contains(known.digest(clues.receipt), autoescape=True),
            ),
        )
        recent = (delivery.c.recipient.in_(names), delivery.c.message >= ids.lowest_at(clues.at - _RECENT))
        latest = connection.execute(wanted.where(*recent, tried).limit(1)).first()
        return (latest.message, latest.number) if latest else None
    return None


def settle(connection: sa.Connection, tiding: Tiding) -> bool:
    """Writes it down; False if it changes nothing. Raises UnknownDeliveryError, `delivery_rows.raise_if_recent`."""
    table = tables.delivery
    found = connection.execute(
        sa.select(table).where(table.c.message == tiding.message, table.c.number == tiding.number).with_for_update()
    ).mappings()
    row = next((Delivery(**one) for one in found), None)
    if row is None:
        delivery_rows.raise_if_recent(tiding.message, tiding.at)
        return False
    said = identities.of(connection).said(tiding.tried.code, tiding.tried.text, row.recipient, is_ours=False)
    tiding = tiding._replace(tried=tiding.tried._replace(text=said))
    if tiding.source and not hear(connection, tiding.source, tiding.at):
        return False
    match tiding.type:
        case EventType.BOUNCED:
            return _bounced(connection, tiding, row)
        case EventType.DELIVERED:
            return _delivered(connection, tiding, row)
        case EventType.DEFERRED:
            return _deferred(connection, tiding, row)
        case EventType.COMPLAINED:
            return _complained(connection, tiding, row)
        case EventType.UNSUBSCRIBED:
            return _unsubscribed(connection, tiding, row)
    raise ValueError(f"no tiding: {tiding.type}")


def hear(connection: sa.Connection, source: str, at: datetime) -> bool:
    """Remembers what a teller said, by its own id of it. False if it has said so before.

    A digest is kept: a provider's id of an event may have the recipient in it, and whoever is erased is to be gone.
    """
    heard, source = tables.heard, identities.of(connection).digest(source)
    if connection.scalar(sa.select(heard.c.id).where(heard.c.id == source)):
        return False
    connection.execute(sa.insert(heard), {"id": source, "at": at})
    return True


def _bounced(connection: sa.Connection, tiding: Tiding, row: Delivery) -> bool:
    if row.status in _FAILED:
        return False
    arrived = _told_delivered_at(connection, tiding)
    if arrived is not None and arrived > tiding.at:
        return False
    if row.delivered_at is not None:  # nothing bounces before it is sent, whatever another's clock says
        tiding = tiding._replace(at=max(tiding.at, row.delivered_at))
    outcome = _outcome(tiding, row, Status.BOUNCED)
    outcome = outcome._replace(owes="failed" if _is_owed(connection, tiding, row, "FAILURE") else "")
    deliveries.settle(connection, tiding.message, [outcome], is_final=True)
    return True


def _is_owed(connection: sa.Connection, tiding: Tiding, row: Delivery, condition: str) -> bool:
    """True if the reverse-path asked to hear of that (RFC 3461 §4.1), and there is somebody to tell."""
    if not tiding.tells or condition not in dsn_due.wanted(row.notify):
        return False
    message = deliveries.message(connection, tiding.message)
    return message is not None and message.takes_notices and bool(message.reverse_path)


def _delivered(connection: sa.Connection, tiding: Tiding, row: Delivery) -> bool:
    """That our upstream took it, we know; that it had arrived after it had bounced is news."""
    if row.status == Status.BOUNCED and row.settled_at is not None and tiding.at > row.settled_at:
        deliveries.settle(connection, tiding.message, [_outcome(tiding, row, Status.DELIVERED)], is_final=True)
        return True
    _note_attempt(connection, tiding)
    return False


def _deferred(connection: sa.Connection, tiding: Tiding, row: Delivery) -> bool:
    """Somebody else still tries: noted, and nothing more."""
    event, detail = tables.event, deliveries.evidence(tiding.tried, tiding.rule)
    same = sa.select(event.c.id).where(
        event.c.message == tiding.message,
        event.c.number == tiding.number,
        event.c.type == EventType.DEFERRED,
        event.c.detail == detail,
    )
    if connection.scalar(same):
        return False
    _note_attempt(connection, tiding)
    _note_event(connection, tiding, row, detail)
    if row.told not in ("delayed", "failed") and not row.owes and _is_owed(connection, tiding, row, "DELAY"):
        delivery_rows.update(connection, tiding.message, tiding.number, owes="delayed")
    return True


def _complained(connection: sa.Connection, tiding: Tiding, row: Delivery) -> bool:
    evidence = deliveries.evidence(tiding.tried, tiding.rule)
    suppressions.add(
        connection,
        row.recipient,
        reason=suppressions.COMPLAINT,
        at=tiding.at,
        evidence=evidence,
        message=tiding.message,
    )
    if row.complained_at is not None:
        return False
    delivery_rows.update(connection, tiding.message, tiding.number, complained_at=tiding.at)
    _note_event(connection, tiding, row, evidence)
    return True


def _unsubscribed(connection: sa.Connection, tiding: Tiding, row: Delivery) -> bool:
    hit = Hit(tiding.id, EventType.UNSUBSCRIBED, tiding.at, tiding.message, tiding.number, "human", tiding.reasons)
    hits.record(connection, hit)
    return row.unsubscribed_at is None


def _outcome(tiding: Tiding, row: Delivery, status: Status) -> Outcome:
    return Outcome(
        tiding.id,
        tiding.number,
        row.recipient,
        status,
        tiding.at,
        kind=tiding.kind,
        category=tiding.category,
        rule=tiding.rule,
        tried=tiding.tried,
        counts=False,
        suppress=tiding.suppress,
        tracked=row.tracked,
        counts_against=tiding.counts_against,
    )


def _told_delivered_at(connection: sa.Connection, tiding: Tiding) -> datetime | None:
    """The last time at which somebody told that it arrived. Our upstream's own 250 is no such word."""
    table = tables.attempt
    found: datetime | None = connection.scalar(
        sa.select(sa.func.max(table.c.at, type_=tables.UtcTime)).where(
            table.c.message == tiding.message,
            table.c.number == tiding.number,
            table.c.phase == PHASE,
            table.c.code.between(200, 299),
        )
    )
    return found


def _note_attempt(connection: sa.Connection, tiding: Tiding) -> None:
    row = {"message": tiding.message, "number": tiding.number, "at": tiding.at, "rule": tiding.rule}
    connection.execute(sa.insert(tables.attempt), row | tiding.tried._asdict())


def _note_event(connection: sa.Connection, tiding: Tiding, row: Delivery, detail: str) -> None:
    event = Event(
        id=tiding.id,
        type=tiding.type,
        at=tiding.at,
        message=tiding.message,
        number=tiding.number,
        recipient=identities.of(connection).shown(row.recipient),
        reasons=list(tiding.reasons),
        detail=detail,
    )
    outbox.write(connection, [tables.values(event)])
