"""The span of time that a page of figures is about, and the one before it to compare with.

In: `?span=30d`, or `?from=2026-11-01&to=2026-11-15` (UTC days, both with their whole day).  Out: times. Pure.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

SPANS = {"24h": 1, "7d": 7, "30d": 30, "90d": 90}  # UTC days, with today; 24h: hours up to now
DEFAULT_SPAN = "7d"
MAX_DAYS = 400  # of own dates
_MAX_BARS = 92  # days of a chart; more are shown by seven
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)


class TimeRange(NamedTuple):
    """From `start` up to `end`, which is not after now."""

    span: str  # one of SPANS; empty for own dates
    start: datetime
    end: datetime
    days: int  # that are asked for: the span before lies so many days earlier

    @property
    def before(self) -> tuple[datetime, datetime]:
        """The same span, as many days earlier, up to the same time of the day."""
        return self.start - self.days * _DAY, self.end - self.days * _DAY

    @property
    def step(self) -> timedelta:
        """Of the bars of a chart: an hour, a day or seven."""
        if self.span == "24h" or self.days == 1:
            return _HOUR
        return _DAY if self.days <= _MAX_BARS else 7 * _DAY

    @property
    def first_day(self) -> date:
        return self.start.date()

    @property
    def last_day(self) -> date:
        return (self.end - timedelta(microseconds=1)).date()

    @property
    def query(self) -> str:
        """The range in an address, to be kept by links of the page."""
        return urlencode({"span": self.span} if self.span else {"from": self.first_day, "to": self.last_day})


def read_range(given: QueryParams, now: datetime) -> TimeRange:
    """The range that is asked for; the default one where that is none."""
    own = _read_own_dates(given, now)
    if own:
        return own
    asked = given.get("span", "")
    span = asked if asked in SPANS else DEFAULT_SPAN
    if span == "24h":
        return TimeRange(span, now.replace(minute=0, second=0, microsecond=0) - 23 * _HOUR, now, 1)
    today = datetime.combine(now.date(), time(), UTC)
    return TimeRange(span, today - (SPANS[span] - 1) * _DAY, now, SPANS[span])


def _read_own_dates(given: QueryParams, now: datetime) -> TimeRange | None:
    try:
        first = date.fromisoformat(given.get("from", ""))
        last = date.fromisoformat(given.get("to", "")) if given.get("to") else now.date()
    except ValueError:
        return None
    last = min(last, now.date())
    days = (last - first).days + 1
    if not 1 <= days <= MAX_DAYS or first.year < 1970:
        return None
    start = datetime.combine(first, time(), UTC)
    return TimeRange("", start, min(start + days * _DAY, now), days)
