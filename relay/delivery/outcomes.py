"""The outcome of a step of a delivery, as the store records it.

In: a decision and the result that it is based on, or a reason without an attempt.  Out: an Outcome.
"""

from datetime import datetime

from relay import ids
from relay.delivery.schedule import Decision
from relay.delivery.smtp.attempt_result import AttemptResult
from relay.store.database.tables import Status
from relay.store.queue.queue_facts import AttemptRecord, Outcome


def make_from_attempt(
    decision: Decision, result: AttemptResult, *, number: int, recipient: str, now: datetime, tracked: bool
) -> Outcome:
    """The outcome of an attempt. `tracked`: the copy had tracking URLs."""
    code, enhanced_status, text = result.reply
    status, kind, category, rule, next_attempt_at, suppress, is_soft_failure = decision
    return Outcome(
        ids.new(now),
        number,
        recipient,
        status,
        now,
        kind,
        category,
        rule,
        AttemptRecord(
            result.upstream,
            result.phase,
            code,
            enhanced_status,
            text,
            result.took_ms,
            result.uncertain,
            result.conversation,
        ),
        counts_as_attempt=not result.is_outage,
        next_attempt_at=next_attempt_at,
        suppress=suppress,
        tracked=tracked,
        is_soft_failure=is_soft_failure,
        nothing_tried=result.nothing_tried,
    )


def make_expired(*, number: int, recipient: str, now: datetime) -> Outcome:
    """The outcome of a delivery whose time ran out before another attempt."""
    return Outcome(
        ids.new(now), number, recipient, Status.EXPIRED, now, kind="soft", category="expired", rule="expire_after"
    )


def make_suppressed(*, number: int, recipient: str, now: datetime, reason: str) -> Outcome:
    """The outcome of a delivery that is not attempted because the address is suppressed."""
    return Outcome(
        ids.new(now), number, recipient, Status.SUPPRESSED, now, kind="none", category="suppressed", rule=reason
    )
