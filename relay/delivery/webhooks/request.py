"""What came of a request to a webhook (`client` sends it), and when the next one is due if it failed. RFC 9110."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from relay import backoff
from relay.store.webhooks.webhook_queue import GIVE_UP_AFTER

_JITTER = 0.1  # of an interval, to either side
_MIN_REMAINING = timedelta(minutes=1)  # the last retry is at the end of the time, unless less than that is left


class WebhookResponse(NamedTuple):
    """The response of an endpoint. Code 0: none, and `error` says why."""

    code: int
    error: str = ""
    text: str = ""
    retry_after: str = ""
    took_ms: int = 0

    @property
    def is_success(self) -> bool:
        return 200 <= self.code < 300


def next_attempt(
    retry: tuple[timedelta, ...],
    attempts: int,
    first_at: datetime,
    now: datetime,
    jitter: float,
    wait: timedelta = timedelta(0),
) -> datetime | None:
    """When to try again after that many attempts failed, the first of them at `first_at`; None: not any more.

    `jitter` is from 0 to 1; `wait` is what the endpoint asked for.
    """
    end = first_at + GIVE_UP_AFTER
    if now + _MIN_REMAINING >= end:
        return None
    return min(now + max(backoff.vary(backoff.interval_after(retry, attempts), _JITTER, jitter), wait), end)


def requested_wait(response: WebhookResponse, now: datetime) -> timedelta:
    """What Retry-After says (RFC 9110 §10.2.3), from nothing up to a day."""
    try:
        wait = timedelta(seconds=int(response.retry_after))
    except (ValueError, OverflowError):
        try:
            wait = parsedate_to_datetime(response.retry_after).astimezone(UTC) - now
        except (ValueError, TypeError, OverflowError):
            wait = timedelta(0)
    return min(max(wait, timedelta(0)), GIVE_UP_AFTER)
