"""What bounced and why, and what was clicked most: reports over a span of time.

In: a session that the gate let through.  Out: two pages. Counts come from the same functions as the API's `bounces` and
`links`.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import NamedTuple

import sqlalchemy as sa
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from relay.bounce import classify
from relay.store.store import Store
from relay.store.views import bounce_counts, clicked_links, message_list, statistics
from relay.store.views.bounce_counts import BounceCount
from relay.store.views.clicked_links import LinkFilter
from relay.store.views.statistics import Selection, Totals
from web.console import page_filters
from web.console.page_filters import PageFilters

_PAGE_ROWS = 50
_MAX_DOMAINS = 8  # of each category
_SPANS = {"1d": 1, "7d": 7, "30d": 30, "90d": 90}  # UTC days, with today
_OFFSET = re.compile(r"[0-9]{1,6}")
_BY_DOMAIN_AND_CATEGORY = frozenset({bounce_counts.DOMAIN, bounce_counts.CATEGORY})


class CategoryReport(NamedTuple):
    """A category of bounces."""

    name: str
    advice: str
    kind: str  # hard, soft or none
    bounces: int
    by_day: list[int]
    domains: list[BounceCount]  # most first


class _Bounces(NamedTuple):
    totals: Totals
    days: list[statistics.Day]
    counts: list[BounceCount]
    streams: list[str]


class ReportPages:
    """The routes `/bounces` and `/links`."""

    def __init__(self, store: Store, page: Callable[..., Response]) -> None:
        self._store = store
        self._render_page = page

    def routes(self) -> list[BaseRoute]:
        return [Route("/bounces", self.show_bounces), Route("/links", self.list_links)]

    async def show_bounces(self, request: Request) -> Response:
        filters = PageFilters(request.query_params, ("span", "stream"))
        span, first = _read_span(filters)
        stream = filters.stream()
        found = await self._store.read(lambda connection: _read_bounces(connection, first, _SPANS[span], stream))
        return self._render_page(
            request,
            "bounces.html",
            "bounces",
            totals=found.totals,
            days=found.days,
            categories=_group_by_category(found),
            max_domains=_MAX_DOMAINS,
            faults=filters.faults,
            span=span,
            spans=_SPANS,
            stream_asked=stream,
            streams=found.streams,
        )

    async def list_links(self, request: Request) -> Response:
        filters = PageFilters(request.query_params, ("span", "stream", "tag", "from"))
        span, first = _read_span(filters)
        stream, tag = filters.stream(), filters.text("tag")
        begun = filters.cursor("from", _OFFSET, "further links")
        offset = int(begun[0]) if begun else 0
        wanted = LinkFilter(since=first, stream=stream, tag=tag)
        found, streams = await self._store.read(
            lambda connection: (
                clicked_links.list_clicked_links(connection, wanted, _PAGE_ROWS, offset),
                message_list.list_streams(connection),
            )
        )
        kept = {"span": span, "stream": stream, "tag": tag}
        further = page_filters.page_url("/links", kept | {"from": str(offset + _PAGE_ROWS)}) if found.has_more else ""
        return self._render_page(
            request,
            "links.html",
            "links",
            links=found.items,
            most=max((one.human for one in found.items), default=0),
            counted_since=found.counted_since,
            is_cut=found.is_cut,
            faults=filters.faults,
            span=span,
            spans=_SPANS,
            stream_asked=stream,
            streams=streams,
            tag=tag,
            offset=offset,
            is_filtered=bool(stream or tag),
            here=page_filters.page_url("/links", kept),
            further=further,
        )


def _read_span(filters: PageFilters) -> tuple[str, datetime]:
    """The span that is asked for, and the midnight with which it begins."""
    span = filters.choice("span", _SPANS, "7d")
    today = datetime.combine(datetime.now(UTC).date(), time(), UTC)
    return span, today - timedelta(days=_SPANS[span] - 1)


def _read_bounces(connection: sa.Connection, first: datetime, count: int, stream: str) -> _Bounces:
    selection = Selection(first, stream=stream or None)
    # By domain all streams are counted together.
    by = frozenset({bounce_counts.CATEGORY}) if stream else _BY_DOMAIN_AND_CATEGORY
    by_day = statistics.read_groups(connection, selection, statistics.DAY)
    days = [first + timedelta(days=n) for n in range(count)]
    return _Bounces(
        statistics.read_totals(connection, selection),
        [statistics.Day(day, by_day.get(day, Totals())) for day in days],
        bounce_counts.count_bounces(connection, selection, by),
        message_list.list_streams(connection),
    )


def _group_by_category(bounces: _Bounces) -> Sequence[CategoryReport]:
    domains: dict[str, list[BounceCount]] = {}
    for one in bounces.counts:
        domains.setdefault(one.category or "", []).append(one)
    # Where addresses are not kept there are no domains: then the totals are all.
    counts = Counter({name: count for name, count in bounces.totals.categories.items() if count})
    return [
        CategoryReport(
            name,
            classify.advice_for(name),
            classify.CATEGORIES[name].kind if name in classify.CATEGORIES else "",
            count,
            [day.totals.categories.get(name, 0) for day in bounces.days],
            domains.get(name, []),
        )
        for name, count in counts.most_common()
    ]
