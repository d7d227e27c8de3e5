"""Late reports: bounces, delays and complaints after the upstream's 250, by mail or by a provider's webhook.

In: a LateReport, which names the delivery.  Out: the same rows as a live reply leaves, in the same commit. A
report that comes twice changes nothing, and reports may come in any order: the later time decides, and a complaint
always counts.
"""

from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

import sqlalchemy as sa

from relay import ids, suppression_reason
from relay.event_type import EventType
from relay.store import events
from relay.store.database import columns, delivery_rows, identities, tables
from relay.store.database.rows import Delivery
from relay.store.database.tables import Status
from relay.store.events import NewEvent
from relay.store.queue import deliveries, dsn_due, outcomes
from relay.store.queue.queue_facts import AttemptRecord, Outcome
from relay.store.recipients import repeated_failures, suppressions
from relay.store.tracking import hits
from relay.store.tracking.hit_facts import Hit

_MAX_MAIL_AGE = timedelta(days=30)  # mail of which its upstream still tells
_MAX_CLOCK_SKEW = timedelta(minutes=5)
_MAX_CANDIDATES = 1000  # recipients of mail with one Message-ID
_MIN_RECEIPT = 8  # characters; less stands in any text by chance
REPORT_PHASE = "report"  # of the attempts that these leave
_FAILED_STATUSES = (Status.BOUNCED, Status.EXPIRED, Status.SUPPRESSED)


class LateReport(NamedTuple):
    """A report about one delivery. `type` is bounced, deferred, delivered, complained or unsubscribed;
    `source_id` is the reporter's own id of it, if there is one."""

    id: str  # of the event that it becomes
    type: EventType
    at: datetime
    message: str
    number: int
    attempt: AttemptRecord
    kind: str = ""
    category: str = ""
    rule: str = ""
    suppress: bool = False
    is_soft_failure: bool = False
    reasons: tuple[str, ...] = ()
    source_id: str = ""
    sends_dsn: bool = False  # the mail went under a reverse-path of ours, so that only we can inform the app


class DeliveryClues(NamedTuple):
    """What a report contains about a delivery: the recipient, and the mail's Message-ID (without brackets) or the id
    that our upstream gave it in its 250."""

    recipient: str
    at: datetime
    message_id: str = ""
    receipt: str = ""


class BounceVerdict(Protocol):
    """A verdict of `relay.bounce.classify`."""

    @property
    def kind(self) -> str: ...
    @property
    def category(self) -> str: ...
    @property
    def rule(self) -> str: ...
    @property
    def suppress(self) -> bool: ...


def as_failure(report: LateReport, verdict: BounceVerdict, *, suppress_hard: bool) -> LateReport:
    """Returns the report with a verdict. Its sender has given up, so that the failure is soft at least."""
    return report._replace(
        kind="soft" if verdict.kind == "none" else str(verdict.kind),
        category=verdict.category,
        rule=verdict.rule,
        suppress=verdict.suppress and suppress_hard,
        is_soft_failure=verdict.category in repeated_failures.COUNTED_CATEGORIES and suppress_hard,
    )


def find_reported_delivery(connection: sa.Connection, clues: DeliveryClues) -> tuple[str, int] | None:
    """Returns message and number of the delivery that is meant; None if there is none. The recipient must match."""
    message, delivery = tables.message, tables.delivery
    policy = identities.policy_for(connection)
    wanted = sa.select(delivery.c.message, delivery.c.number, delivery.c.recipient).order_by(delivery.c.message.desc())
    if clues.message_id:
        written = (clues.message_id, f"<{clues.message_id}>")  # as the app wrote it, or as we made it
        for row in connection.execute(
            wanted.join(message, message.c.id == delivery.c.message)
            .where(message.c.message_id.in_(written), message.c.accepted_at <= clues.at + _MAX_CLOCK_SKEW)
            .limit(_MAX_CANDIDATES)
        ):
            if set(policy.possible_names(row.recipient)) & set(policy.possible_names(clues.recipient)):
                return row.message, row.number
    if len(clues.receipt) >= _MIN_RECEIPT:
        attempt = tables.attempt
        names = {clues.recipient, *policy.possible_names(clues.recipient)}
        tried = sa.exists().where(
            attempt.c.message == delivery.c.message,
            attempt.c.number == delivery.c.number,
            attempt.c.code.between(200, 299),
            sa.or_(
                attempt.c.text.contains(clues.receipt, autoescape=True),
                attempt.c.text.contains(policy.digest(clues.receipt), autoescape=True),
            ),
        )
        recent = (
            tables.lower_recipient.in_(map(sa.func.lower, names)),
            delivery.c.message >= ids.lowest_at(clues.at - _MAX_MAIL_AGE),
        )
        latest = connection.execute(wanted.where(*recent, tried).limit(1)).first()
        return (latest.message, latest.number) if latest else None
    return None


def apply_report(connection: sa.Connection, report: LateReport) -> bool:
    """Records the report. False if it changes nothing. Raises UnknownDeliveryError."""
    found = delivery_rows.lock_row(connection, report.message, report.number)
    if found is None:
        delivery_rows.raise_if_recent(report.message, report.at)
        return False
    row = Delivery(**found._mapping)
    said = identities.policy_for(connection).redact_reply(
        report.attempt.code, report.attempt.text, row.recipient, is_ours=False
    )
    report = report._replace(attempt=report.attempt._replace(text=said))
    if report.source_id and not mark_processed(connection, report.source_id, report.at):
        return False
    match report.type:
        case EventType.BOUNCED:
            return _apply_bounce(connection, report, row)
        case EventType.DELIVERED:
            return _apply_delivery(connection, report, row)
        case EventType.DEFERRED:
            return _apply_delay(connection, report, row)
        case EventType.COMPLAINED:
            return _apply_complaint(connection, report, row)
        case EventType.UNSUBSCRIBED:
            return _apply_unsubscribe(connection, report, row)
    raise ValueError(f"no report of that type: {report.type}")


def mark_processed(connection: sa.Connection, source: str, at: datetime) -> bool:
    """Stores a reporter's id of an event. False if it was there already.

    A digest is stored: the id may contain the recipient's address, which would outlive its erasure.
    """
    table, digest = tables.processed_provider_event, identities.policy_for(connection).digest(source)
    if connection.scalar(sa.select(table.c.id).where(table.c.id == digest)):
        return False
    connection.execute(sa.insert(table), {"id": digest, "at": at})
    return True


def _apply_bounce(connection: sa.Connection, report: LateReport, row: Delivery) -> bool:
    if row.status in _FAILED_STATUSES:
        return False
    arrived = _reported_delivered_at(connection, report)
    if arrived is not None and arrived > report.at:
        return False
    if row.delivered_at is not None:  # mail does not bounce before it is sent, whatever another machine's clock says
        report = report._replace(at=max(report.at, row.delivered_at))
    outcome = _outcome(report, row, Status.BOUNCED)
    outcome = outcome._replace(dsn_due="failed" if _is_dsn_due(connection, report, row, "FAILURE") else "")
    outcomes.record_outcomes(connection, report.message, [outcome], is_final=True)
    return True


def _is_dsn_due(connection: sa.Connection, report: LateReport, row: Delivery, condition: str) -> bool:
    """True if the envelope asks for a DSN of that condition (RFC 3461 §4.1), and there is a reverse-path for it."""
    if not report.sends_dsn or condition not in dsn_due.requested_conditions(row.notify):
        return False
    message = deliveries.find_message(connection, report.message)
    return message is not None and message.accepts_dsn and bool(message.reverse_path)


def _apply_delivery(connection: sa.Connection, report: LateReport, row: Delivery) -> bool:
    """Only a delivery that bounced before changes: that the upstream took the mail is known already."""
    if row.status == Status.BOUNCED and row.settled_at is not None and report.at > row.settled_at:
        outcomes.record_outcomes(connection, report.message, [_outcome(report, row, Status.DELIVERED)], is_final=True)
        return True
    _insert_attempt(connection, report)
    return False


def _apply_delay(connection: sa.Connection, report: LateReport, row: Delivery) -> bool:
    """Another server still tries: an attempt and an event are recorded, and the status stays."""
    event, detail = tables.event, outcomes.reply_text(report.attempt, report.rule)
    same = sa.select(event.c.id).where(
        event.c.message == report.message,
        event.c.number == report.number,
        event.c.type == EventType.DEFERRED,
        event.c.detail == detail,
    )
    if connection.scalar(same):
        return False
    _insert_attempt(connection, report)
    _append_event(connection, report, row, detail)
    if row.dsn_sent not in ("delayed", "failed") and not row.dsn_due and _is_dsn_due(connection, report, row, "DELAY"):
        delivery_rows.update_delivery(connection, report.message, report.number, dsn_due="delayed")
    return True


def _apply_complaint(connection: sa.Connection, report: LateReport, row: Delivery) -> bool:
    evidence = outcomes.reply_text(report.attempt, report.rule)
    suppressions.add_suppression(
        connection,
        row.recipient,
        reason=suppression_reason.COMPLAINT,
        at=report.at,
        evidence=evidence,
        message=report.message,
    )
    if row.complained_at is not None:
        return False
    delivery_rows.update_delivery(connection, report.message, report.number, complained_at=report.at)
    _append_event(connection, report, row, evidence)
    return True


def _apply_unsubscribe(connection: sa.Connection, report: LateReport, row: Delivery) -> bool:
    hit = Hit(report.id, EventType.UNSUBSCRIBED, report.at, report.message, report.number, "human", report.reasons)
    hits.record_hit(connection, hit)
    return row.unsubscribed_at is None


def _outcome(report: LateReport, row: Delivery, status: Status) -> Outcome:
    return Outcome(
        report.id,
        report.number,
        row.recipient,
        status,
        report.at,
        kind=report.kind,
        category=report.category,
        rule=report.rule,
        attempt=report.attempt,
        counts_as_attempt=False,
        suppress=report.suppress,
        tracked=row.tracked,
        is_soft_failure=report.is_soft_failure,
    )


def _reported_delivered_at(connection: sa.Connection, report: LateReport) -> datetime | None:
    """When the mail arrived by the latest report. Our upstream's own 250 does not count."""
    table = tables.attempt
    found: datetime | None = connection.scalar(
        sa.select(sa.func.max(table.c.at, type_=columns.UtcTime)).where(
            table.c.message == report.message,
            table.c.number == report.number,
            table.c.phase == REPORT_PHASE,
            table.c.code.between(200, 299),
        )
    )
    return found


def _insert_attempt(connection: sa.Connection, report: LateReport) -> None:
    row = {"message": report.message, "number": report.number, "at": report.at, "rule": report.rule}
    connection.execute(sa.insert(tables.attempt), row | report.attempt._asdict())


def _append_event(connection: sa.Connection, report: LateReport, row: Delivery, detail: str) -> None:
    event = NewEvent(
        id=report.id,
        type=report.type,
        at=report.at,
        message=report.message,
        number=report.number,
        recipient=row.recipient,
        reasons=report.reasons,
        detail=detail,
    )
    events.append_events(connection, [event])
