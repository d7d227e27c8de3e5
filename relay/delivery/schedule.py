"""When to try again, and what an answer means for a delivery. Decides; does nothing."""

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from relay import ids
from relay.bounce import classify
from relay.bounce.classify import Phase
from relay.config.smtp import DeliveryConfig as Settings
from relay.reply import Reply
from relay.store.database.tables import Status
from relay.store.queue.deliveries import AttemptResult, Outcome
from relay.store.recipients import repeated_failures

LAST_MOMENT = timedelta(seconds=1)
JITTER = 0.2  # of an interval, to either side: what failed together shall not come back together
_LATER = 0.1  # of a wait that was asked for: never sooner than that
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
# "try again in 5 minutes", "greylisted for 300 seconds", "retry after 90s", "come back in 00:04:59", "Retry-After: 60"
_WAIT = re.compile(
    r"\b(?:in|for|after|within|wait|retry[- ]after:?|again|least|delay(?:ed)?(?: of)?|another)\s+"
    r"(?:(?:at least|about|approximately|another|the next)\s+)?"
    r"(?:(?P<clock>\d{1,2}(?::\d\d){1,2})\b|(?P<number>\d{1,7})\s*(?P<unit>[a-z]+)?)",
    re.IGNORECASE,
)
_UNITS = re.compile(r"(?:(s)(?:ec(?:ond)?s?)?|(m)(?:in(?:ute)?s?)?|(h)(?:(?:ou)?rs?)?|(d)(?:ays?)?)", re.IGNORECASE)
_ASKS = re.compile(
    r"retr(?:y|ies)|try|again|later|greylist|graylist|come back|defer|delay|wait|throttl|slow", re.IGNORECASE
)
_MOMENT = re.compile(
    r"\b(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d)?)(?:\.\d+)?\s*(Z|UTC|GMT|[+-]\d\d:?\d\d)?(?!\d)", re.IGNORECASE
)
_UPSTREAMS_OWN = (Phase.CONNECT, Phase.HELO, Phase.AUTH)


class Answer(NamedTuple):
    """What an upstream said of one recipient. A reply of code 0 is no reply: its text says what happened."""

    upstream: str
    phase: Phase
    reply: Reply
    took_ms: int
    uncertain: bool = False  # all was sent and no reply came: it may have arrived
    tells: bool = False  # the upstream offers DSN: it tells of success itself (RFC 3461)
    is_known: bool = False  # from before: nothing was tried

    @property
    def is_outage(self) -> bool:
        """The upstream could not be spoken to: its trouble, not the delivery's."""
        return self.phase in _UPSTREAMS_OWN and not self.reply.accepts


def next_attempt(settings: Settings, attempts: int, now: datetime, jitter: float) -> datetime:
    """When to try again after `attempts` attempts (at least 1). `jitter` is between 0 and 1."""
    interval = settings.retry[min(attempts, len(settings.retry)) - 1]
    return now + interval * (1 + JITTER * (2 * jitter - 1))


def hint(text: str, now: datetime) -> timedelta | None:
    """How long the reply asks to wait; None where it names no time. A moment without a zone is taken as UTC."""
    if not _ASKS.search(text):
        return None
    if found := _MOMENT.search(text):
        zone = (found[3] or "Z").upper().replace("UTC", "Z").replace("GMT", "Z")
        try:
            return max(timedelta(0), datetime.fromisoformat(f"{found[1]}T{found[2]}{zone}").astimezone(UTC) - now)
        except ValueError:
            return None
    for found in _WAIT.finditer(text):
        if found["clock"]:
            parts = [int(part) for part in found["clock"].split(":")]
            hours, minutes, seconds = [0] * (3 - len(parts)) + parts
            return timedelta(hours=hours, minutes=minutes, seconds=seconds)
        unit = _UNITS.fullmatch(found["unit"] or "")
        if unit:
            letter = next(part for part in unit.groups() if part).lower()
            return timedelta(seconds=int(found["number"]) * _UNIT_S[letter])
        if found[0].lower().startswith("retry"):  # as in HTTP: bare seconds
            return timedelta(seconds=int(found["number"]))
    return None


def heeded(settings: Settings, wait: timedelta, now: datetime, jitter: float) -> datetime:
    """When to try again if a reply asks for that wait: within the bounds of the schedule, and not before."""
    wait = max(min(settings.retry), min(wait, max(settings.retry)))
    return now + wait * (1 + _LATER * jitter)


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
    base = undecided(
        settings,
        answer,
        number=number,
        recipient=recipient,
        attempts_before=attempts_before,
        now=now,
        tracked=tracked,
    )
    if reply.accepts:
        return base
    verdict = classify.classify_reply(reply, answer.phase, answer.upstream)
    base = base._replace(kind=verdict.kind, category=verdict.category, rule=verdict.rule, next_attempt_at=None)
    if reply.is_permanent and not verdict.retry:
        return base._replace(
            status=Status.BOUNCED,
            suppress=verdict.suppress and suppress_hard,
            is_soft_failure=verdict.category in repeated_failures.COUNTED_CATEGORIES and suppress_hard,
        )
    again = next_attempt(settings, attempts_before + 1, now, jitter)
    if (wait := hint(reply.text, now)) is not None and not answer.is_outage:
        again = heeded(settings, wait, now, jitter)
    if answer.is_outage:
        # No attempt was made: the upstream is asked again soon, however often it was out.
        again = min(again, next_attempt(settings, 1, now, jitter))
    if again > expires_at > now + LAST_MOMENT:
        again = expires_at - LAST_MOMENT  # mail that is given little time has one more try in it
    if again > expires_at:
        return base._replace(status=Status.EXPIRED)
    return base._replace(status=Status.DEFERRED, next_attempt_at=again)


def undecided(
    settings: Settings,
    answer: Answer,
    *,
    number: int,
    recipient: str,
    attempts_before: int,
    now: datetime,
    tracked: bool,
) -> Outcome:
    """The same without a look at what the reply says: delivered, or deferred by a fault of ours."""
    reply = answer.reply
    return Outcome(
        id=ids.new(now),
        number=number,
        recipient=recipient,
        status=Status.DELIVERED if reply.accepts else Status.DEFERRED,
        at=now,
        kind="" if reply.accepts else "soft",
        category="" if reply.accepts else "undetermined",
        rule="" if reply.accepts else "fault",
        tried=AttemptResult(
            answer.upstream, answer.phase, reply.code, reply.status, reply.text, answer.took_ms, answer.uncertain
        ),
        counts=not answer.is_outage,
        next_attempt_at=None if reply.accepts else next_attempt(settings, attempts_before + 1, now, 0.5),
        is_known=answer.is_known,
        tracked=tracked,
    )


def expired(*, number: int, recipient: str, now: datetime) -> Outcome:
    """A delivery whose time has run out before another attempt."""
    return Outcome(
        ids.new(now), number, recipient, Status.EXPIRED, now, kind="soft", category="expired", rule="expire_after"
    )


def suppressed(*, number: int, recipient: str, now: datetime, reason: str) -> Outcome:
    """A delivery that is not attempted because the address is suppressed."""
    return Outcome(
        ids.new(now), number, recipient, Status.SUPPRESSED, now, kind="none", category="suppressed", rule=reason
    )
