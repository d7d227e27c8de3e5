"""The overview: what became of the mail of a span of time, beside the span before it.

In: a session that the gate let through.  Out: a page. Its figures are those of the API's `stats`.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from relay.store.store import Store
from relay.store.views import message_list, statistics
from relay.store.views.message_list import MessageSummary
from relay.store.views.statistics import QueueDepth, Selection, Totals
from web.console import time_range
from web.console.page_filters import PageFilters
from web.console.time_range import TimeRange

MAX_BOUNCE_RATE, MAX_COMPLAINT_RATE = 0.02, 0.001  # above which receivers act
_RECENT_MESSAGES = 8
_MAX_GROUPS = 8  # streams, and tags
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)


class FunnelStage(NamedTuple):
    """A stage that mail reaches. `event_count` counts all events of the stage, `reached` the deliveries that came so
    far, by people only."""

    name: str
    reached: int
    event_count: int
    event_words: str  # what `event_count` counts
    href: str
    reached_before: int  # `reached` in the span before


class Rate(NamedTuple):
    """A share, and the limit above which receivers act; None where there was nothing."""

    name: str
    share: float | None
    share_before: float | None
    limit: float
    part: int
    total: int
    advice: str
    href: str


class Bar(NamedTuple):
    """A bar of the chart."""

    start: datetime
    delivered: int
    failed: int  # bounced or expired
    suppressed: int
    opened_by: int
    clicked_by: int


class _Figures(NamedTuple):
    totals: Totals
    totals_before: Totals
    steps: Mapping[datetime, Totals]
    streams: Mapping[str, Totals]
    tags: Mapping[str, Totals]
    waiting: QueueDepth
    recent: list[MessageSummary]


class OverviewPage:
    """The route `/`."""

    def __init__(self, store: Store, page: Callable[..., Response]) -> None:
        self._store = store
        self._render_page = page

    def routes(self) -> list[BaseRoute]:
        return [Route("/", self.show_overview)]

    async def show_overview(self, request: Request) -> Response:
        filters = PageFilters(request.query_params, ("span", "from", "to"))
        asked = time_range.read_range(filters, datetime.now(UTC))
        found = await self._store.read(lambda connection: _read_figures(connection, asked))
        return self._render_page(
            request,
            "overview.html",
            "overview",
            faults=filters.faults,
            range=asked,
            spans=time_range.SPANS,
            totals=found.totals,
            before=found.totals_before,
            stages=funnel_stages(found.totals, found.totals_before),
            rates=list_rates(found.totals, found.totals_before),
            bars=chart_bars(found.steps, asked),
            streams=_largest_groups(found.streams),
            tags=_largest_groups(found.tags),
            waiting=found.waiting,
            lines=found.recent,
        )


def _read_figures(connection: sa.Connection, time_range: TimeRange) -> _Figures:
    selection = Selection(time_range.start, time_range.last_counted)
    step = statistics.HOUR if time_range.step == _HOUR else statistics.DAY
    return _Figures(
        statistics.read_totals(connection, selection),
        statistics.read_totals(connection, Selection(*time_range.previous_span)),
        statistics.read_groups(connection, selection, step),
        statistics.read_groups(connection, selection, statistics.STREAM),
        statistics.read_groups(connection, selection, statistics.TAG),
        statistics.queue_depth(connection),
        message_list.list_messages(connection, _RECENT_MESSAGES).items,
    )


def funnel_stages(totals: Totals, totals_before: Totals) -> list[FunnelStage]:
    """Sent, delivered, opened and clicked."""
    sent, sent_before = _count_sent(totals), _count_sent(totals_before)
    opens, clicks = totals.opens.total, totals.clicks.total
    return [
        FunnelStage("Sent", sent, sent + totals.suppressed, "with suppressed recipients", "/messages", sent_before),
        FunnelStage(
            "Delivered", totals.delivered, totals.delivered, "", "/messages?status=delivered", totals_before.delivered
        ),
        FunnelStage(
            "Opened by people",
            totals.opened_by,
            opens,
            f"{'open' if opens == 1 else 'opens'}, repeated and by machines too",
            "",
            totals_before.opened_by,
        ),
        FunnelStage(
            "Clicked by people",
            totals.clicked_by,
            clicks,
            f"{'click' if clicks == 1 else 'clicks'}, repeated and by machines too",
            "/links",
            totals_before.clicked_by,
        ),
    ]


def _count_sent(totals: Totals) -> int:
    return totals.delivered + totals.bounced + totals.expired


def list_rates(totals: Totals, totals_before: Totals) -> list[Rate]:
    """What receivers judge a sender by."""

    def share(part: int, total: int) -> float | None:
        return part / total if total else None

    attempted, attempted_before = totals.delivered + totals.bounced, totals_before.delivered + totals_before.bounced
    return [
        Rate(
            "Bounce rate",
            share(totals.bounced, attempted),
            share(totals_before.bounced, attempted_before),
            MAX_BOUNCE_RATE,
            totals.bounced,
            attempted,
            "Receivers grow wary of a sender above 2 %. Remove addresses that are refused as unknown.",
            "/bounces",
        ),
        Rate(
            "Complaint rate",
            share(totals.complained, totals.delivered),
            share(totals_before.complained, totals_before.delivered),
            MAX_COMPLAINT_RATE,
            totals.complained,
            totals.delivered,
            "Receivers act above 0.1 %. Write to those who asked for it, and make leaving easy.",
            "/suppressions?reason=complaint",
        ),
    ]


def chart_bars(steps: Mapping[datetime, Totals], time_range: TimeRange) -> list[Bar]:
    """A bar for each step of the range, also where nothing happened."""
    bars, at = [], time_range.start
    step_of_counts = min(time_range.step, _DAY)
    while at < time_range.end:
        until = at + time_range.step
        counted = [
            steps[start] for start in _step_starts(at, min(until, time_range.end), step_of_counts) if start in steps
        ]
        bars.append(
            Bar(
                at,
                sum(one.delivered for one in counted),
                sum(one.bounced + one.expired for one in counted),
                sum(one.suppressed for one in counted),
                sum(one.opened_by for one in counted),
                sum(one.clicked_by for one in counted),
            )
        )
        at = until
    return bars


def _step_starts(first: datetime, end: datetime, step: timedelta) -> list[datetime]:
    found = []
    while first < end:
        found.append(first)
        first += step
    return found


def _largest_groups(groups: Mapping[str, Totals]) -> list[tuple[str, Totals]]:
    """The groups with the most mail."""
    return sorted(groups.items(), key=lambda one: (-one[1].accepted, -one[1].delivered, one[0]))[:_MAX_GROUPS]
