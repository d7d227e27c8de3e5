"""When to try again, and what the result of an attempt means for a delivery. Decides; does nothing."""

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from relay import backoff
from relay.bounce import classify
from relay.config.smtp import DeliveryConfig as Settings
from relay.delivery.smtp.attempt_result import AttemptResult
from relay.store.database.tables import Status
from relay.store.recipients import repeated_failures

LAST_MOMENT = timedelta(seconds=1)
JITTER = 0.2  # of an interval, to either side
_MAX_LATER = 0.1  # of a wait that was requested: up to that much later, and never sooner
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
# "try again in 5 minutes", "greylisted for 300 seconds", "retry after 90s", "come back in 00:04:59", "Retry-After: 60"
_WAIT = re.compile(
    r"\b(?:in|for|after|within|wait|retry[- ]after:?|again|least|delay(?:ed)?(?: of)?|another)\s+"
    r"(?:(?:at least|about|approximately|another|the next)\s+)?"
    r"(?:(?P<clock>\d{1,2}(?::\d\d){1,2})\b|(?P<number>\d{1,7})\s*(?P<unit>[a-z]+)?)",
    re.IGNORECASE,
)
_UNITS = re.compile(r"(?:(s)(?:ec(?:ond)?s?)?|(m)(?:in(?:ute)?s?)?|(h)(?:(?:ou)?rs?)?|(d)(?:ays?)?)", re.IGNORECASE)
_RETRY_WORDS = re.compile(
    r"retr(?:y|ies)|try|again|later|greylist|graylist|come back|defer|delay|wait|throttl|slow", re.IGNORECASE
)
_MOMENT = re.compile(
    r"\b(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d)?)(?:\.\d+)?\s*(Z|UTC|GMT|[+-]\d\d:?\d\d)?(?!\d)", re.IGNORECASE
)


def next_attempt(settings: Settings, attempts: int, now: datetime, jitter: float) -> datetime:
    """When to try again after `attempts` attempts (at least 1). `jitter` is between 0 and 1."""
    return now + backoff.vary(backoff.interval_after(settings.retry, attempts), JITTER, jitter)


def requested_wait(text: str, now: datetime) -> timedelta | None:
    """How long the reply asks us to wait; None if it names no time. A time without a zone is taken as UTC."""
    if not _RETRY_WORDS.search(text):
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


def requested_retry_at(settings: Settings, wait: timedelta, now: datetime, jitter: float) -> datetime:
    """When to try again after a reply that asks for that wait: not earlier, and within the bounds of the schedule."""
    wait = max(min(settings.retry), min(wait, max(settings.retry)))
    return now + wait * (1 + _MAX_LATER * jitter)


class Decision(NamedTuple):
    """What a result means for a delivery. `next_attempt_at` is set while the delivery stays open."""

    status: Status
    kind: str = ""
    category: str = ""
    rule: str = ""
    next_attempt_at: datetime | None = None
    suppress: bool = False  # the address gets no further mail
    is_soft_failure: bool = False  # a soft failure that suppresses the address if it is repeated


_DELIVERED = Decision(Status.DELIVERED)


def decide(
    settings: Settings,
    result: AttemptResult,
    *,
    attempts_before: int,
    expires_at: datetime,
    now: datetime,
    jitter: float,
    suppress_hard: bool,
) -> Decision:
    """Whether the delivery is delivered, bounced, expired, or deferred until when.

    `jitter` is between 0 and 1. `suppress_hard`: a hard bounce is evidence against the address.
    """
    reply = result.reply
    if reply.accepts:
        return _DELIVERED
    verdict = classify.classify_reply(reply, result.phase, result.upstream)
    cause = Decision(Status.DEFERRED, verdict.kind, verdict.category, verdict.rule)
    if reply.is_permanent and not verdict.retry:
        return cause._replace(
            status=Status.BOUNCED,
            suppress=verdict.suppress and suppress_hard,
            is_soft_failure=verdict.category in repeated_failures.COUNTED_CATEGORIES and suppress_hard,
        )
    again = next_attempt(settings, attempts_before + 1, now, jitter)
    if (wait := requested_wait(reply.text, now)) is not None and not result.is_outage:
        again = requested_retry_at(settings, wait, now, jitter)
    if result.is_outage:
        # No transaction was possible: the upstream is tried again soon, however often it was down.
        again = min(again, next_attempt(settings, 1, now, jitter))
    if again > expires_at > now + LAST_MOMENT:
        again = expires_at - LAST_MOMENT  # mail with little time left gets one more attempt within it
    if again > expires_at:
        return cause._replace(status=Status.EXPIRED)
    return cause._replace(next_attempt_at=again)


def decide_without_verdict(
    settings: Settings, result: AttemptResult, *, attempts_before: int, now: datetime
) -> Decision:
    """The decision if the reply cannot be judged because of a fault of ours: delivered, else deferred."""
    if result.reply.accepts:
        return _DELIVERED
    again = next_attempt(settings, attempts_before + 1, now, 0.5)
    return Decision(Status.DEFERRED, "soft", "undetermined", "fault", again)
