"""When to try again, and what an answer means for a delivery. Decides; does nothing."""

from datetime import datetime, timedelta
from typing import NamedTuple

from relay import ids
from relay.bounce import classify
from relay.bounce.classify import Phase
from relay.config.schema import Delivery as Settings
from relay.reply import Reply
from relay.store import strikes
from relay.store.queue import Outcome, Try
from relay.store.tables import Status

LAST_MOMENT = timedelta(seconds=1)
JITTER = 0.2  # of an interval, to either side: what failed together shall not come back together
_UPSTREAMS_OWN = (Phase.CONNECT, Phase.HELO, Phase.AUTH)


class Answer(NamedTuple):
    """What an upstream said of one recipient. A reply of code 0 is no reply: its text says what happened."""

    upstream: str
    phase: Phase
    reply: Reply
    took_ms: int
    uncertain: bool = False  # all was sent and no reply came: it may have arrived

    @property
    def is_outage(self) -> bool:
        """The upstream could not be spoken to: its trouble, not the delivery's."""
        return self.phase in _UPSTREAMS_OWN and not self.reply.accepts


def next_attempt(settings: Settings, attempts: int, now: datetime, jitter: float) -> datetime:
    """When to try again after `attempts` attempts (at least 1). `jitter` is between 0 and 1."""
    interval = settings.retry[min(attempts, len(settings.retry)) - 1]
    return now + interval * (1 + JITTER * (2 * jitter - 1))


def outcome(
    settings: Settings,
    answer: Answer,
    *,
    number: int,
    recipient: str,
    attempts_before: int,
    expires_at: datetime,
    now: datetime,
    jitter: float,
    suppress_hard: bool,
    tracked: bool,
) -> Outcome:
    """What becomes of a delivery after that answer: delivered, bounced, expired, or deferred until when."""
    reply = answer.reply
    verdict = classify.classify(reply, answer.phase, answer.upstream)
    tried = Try(answer.upstream, answer.phase, reply.code, reply.status, reply.text, answer.took_ms, answer.uncertain)
    base = Outcome(
        id=ids.new(),
        number=number,
        recipient=recipient,
        status=Status.DELIVERED,
        at=now,
        tried=tried,
        counts=not answer.is_outage,
        tracked=tracked,
    )
    if reply.accepts:
        return base
    base = base._replace(kind=verdict.kind, category=verdict.category, rule=verdict.rule)
    if reply.is_permanent and not verdict.retry:
        return base._replace(
            status=Status.BOUNCED,
            suppress=verdict.suppress and suppress_hard,
            counts_against=verdict.category in strikes.COUNTED and suppress_hard,
        )
    again = next_attempt(settings, attempts_before + 1, now, jitter)
    if answer.is_outage:
        # No attempt was made: the upstream is asked again soon, however often it was out.
        again = min(again, next_attempt(settings, 1, now, jitter))
    if again > expires_at > now + LAST_MOMENT:
        again = expires_at - LAST_MOMENT  # mail that is given little time has one more try in it
    if again > expires_at:
        return base._replace(status=Status.EXPIRED)
    return base._replace(status=Status.DEFERRED, next_attempt_at=again)


def expired(*, number: int, recipient: str, now: datetime) -> Outcome:
    """A delivery whose time has run out before another attempt."""
    return Outcome(
        ids.new(), number, recipient, Status.EXPIRED, now, kind="soft", category="expired", rule="expire_after"
    )


def suppressed(*, number: int, recipient: str, now: datetime, reason: str) -> Outcome:
    """A delivery that is not attempted because the address is suppressed."""
    return Outcome(
        ids.new(), number, recipient, Status.SUPPRESSED, now, kind="none", category="suppressed", rule=reason
    )
