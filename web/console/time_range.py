"""The span of time that a page of figures is about, and the one before it to compare with.

In: `?span=30d`, or `?from=2026-11-01&to=2026-11-15` (UTC days, both with their whole day).  Out: times. Pure.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from urllib.parse import urlencode

from web.console.page_filters import PageFilters

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
    def previous_span(self) -> tuple[datetime, datetime]:
        """The same span, as many days earlier, up to the same time of the day."""
        return self.start - self.days * _DAY, self.end - self.days * _DAY

    @property
    def last_counted(self) -> datetime | None:
        """The end for counts: None where it is now, so that today is read as a day and not by its hours."""
        return self.end if self.end.time() == time.min else None

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


def read_range(filters: PageFilters, now: datetime) -> TimeRange:
    """The range that is asked for; the default one where that is none, which the filters note."""
    own = _read_own_dates(filters, now)
    if own:
        return own
    span = filters.choice("span", SPANS, DEFAULT_SPAN)
    if span == "24h":
        return TimeRange(span, now.replace(minute=0, second=0, microsecond=0) - 23 * _HOUR, now, 1)
    today = datetime.combine(now.date(), time(), UTC)
    return TimeRange(span, today - (SPANS[span] - 1) * _DAY, now, SPANS[span])


def _read_own_dates(filters: PageFilters, now: datetime) -> TimeRange | None:
    start, to = filters.days()
    if start is None:
        if to is not None:
            filters.add_fault("to", "needs a from")
        return None
    today = datetime.combine(now.date(), time(), UTC)
    days = (min(to or today, today) - start) // _DAY + 1
    if days < 1:
        filters.add_fault("from", "is in the future")
        return None
    if days > MAX_DAYS:
        filters.add_fault("from", f"there may be at most {MAX_DAYS} days up to to")
        return None
    return TimeRange("", start, min(start + days * _DAY, now), days)
