"""The API's statistics: `GET stats`, as JSON or as CSV (RFC 4180).

In: requests behind the API's gate.  Out: what happened in a span of time, in all and by hour, day, stream, tag,
recipients' domain or category. It costs the same however many events there were.
"""

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from pydantic import AwareDatetime, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from relay.store.database.reader import SharedReads
from relay.store.database.roll_ups import NOTICE_STREAM
from relay.store.store import Store
from relay.store.views import json_objects, statistics
from relay.store.views.json_objects import JsonObject
from relay.store.views.statistics import CATEGORY, DAY, DOMAIN, HOUR, Selection, Totals
from relay.store.views.statistics_objects import totals_object
from web.api.answers import ApiError, json_response
from web.api.openapi import documented
from web.api.parameters import AnyStream, NumberCursor, Text, TimeParameters, read_query
from web.api.schemas import AnswerObject

_DEFAULT_SPAN = timedelta(days=7)
_ALMOST_AN_HOUR = timedelta(hours=1) - timedelta(microseconds=1)
_STEPS = {HOUR: timedelta(hours=1), DAY: timedelta(days=1)}
MAX_STEPS = {HOUR: 400, DAY: 1_000}  # of an answer
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run


class StatisticParameters(TimeParameters):
    cursor: NumberCursor = ""
    by: Literal["hour", "day", "stream", "tag", "domain", "category"] | None = Field(
        default=None, description="one item for each; times are UTC"
    )
    stream: AnyStream | None = Field(
        default=None, description="mail of this stream only; `notice` are Waypost's own DSNs"
    )
    tag: Text = ""
    domain: Text = Field(default="", description="mail to this domain only; not together with a stream or a tag")
    compare: Literal["previous"] | None = Field(
        default=None, description="adds the totals of the span before, of the same length"
    )
    format: Literal["json", "csv"] | None = Field(default=None, description="default: as Accept asks, else json")


class HitTotals(AnswerObject):
    """Hits by verdict; `unique`: deliveries that a person opened, or clicked, for the first time."""

    human: int
    proxied: int
    machine: int
    unknown: int
    unique: int


class RateObject(AnswerObject):
    """Shares from 0 to 1; null where there is nothing to share."""

    bounced: float | None = Field(description="of delivered and bounced; receivers grow wary above 0.02")
    complained: float | None = Field(description="of delivered; receivers act above 0.001")
    opened: float | None = Field(description="unique opens of delivered")
    clicked: float | None = Field(description="unique clicks of delivered")


class TotalsObject(AnswerObject):
    accepted: int | None = Field(description="messages; null by domain and category. All else counts deliveries")
    delivered: int
    deferred: int = Field(description="attempts")
    bounced: int
    expired: int
    suppressed: int
    unsubscribed: int
    resubscribed: int
    complained: int
    opens: HitTotals
    clicks: HitTotals
    categories: dict[str, int] = Field(description="why deliveries bounced")
    rates: RateObject


class StatisticItem(TotalsObject):
    group: str = Field(description="the start of the hour or day, the stream, tag, domain or category")


class PreviousSpan(AnswerObject):
    since: AwareDatetime = Field(alias="from")
    until: AwareDatetime = Field(alias="to")
    totals: TotalsObject


class StatisticAnswer(AnswerObject):
    since: AwareDatetime = Field(alias="from")
    until: AwareDatetime = Field(alias="to")
    by: str | None
    totals: TotalsObject
    previous: PreviousSpan | None = Field(description="with compare=previous")
    notices: int = Field(description="DSNs that Waypost sent itself; in none of the other numbers")
    items: list[StatisticItem]
    next: str | None


class _Counts(NamedTuple):
    totals: Totals
    previous: Totals | None
    notices: int
    groups: dict[Any, Totals]  # Any: a time or a name


class StatisticApi:
    """The endpoint `stats`."""

    def __init__(self, store: Store) -> None:
        self._reads = SharedReads(store.read)

    def routes(self) -> list[BaseRoute]:
        return [Route("/stats", self.show_statistics)]

    @documented("What happened in a span of time", query=StatisticParameters, response=StatisticAnswer)
    async def show_statistics(self, request: Request) -> Response:
        asked = read_query(request, StatisticParameters)
        selection = _read_selection(asked, datetime.now(UTC))
        before = _span_before(selection) if asked.compare else None
        assert selection.end is not None
        # By full hours, so that those who ask at the same time ask the same. Up to now is up to the last count: then
        # today is read as a day, and not by its hours.
        end = statistics.floor_hour(selection.end + _ALMOST_AN_HOUR) if asked.until else None
        counted = selection._replace(end=end)
        work = partial(_read_counts, selection=counted, by=asked.by, before=before)
        found = await self._reads.read((counted, asked.by, before), work)
        groups = _sort_groups(found.groups, selection, asked.by)
        if (asked.format or _accepted_format(request)) == "csv":
            return _csv_response(asked.by or "all", found.totals, groups)
        first = int(asked.cursor or 0)
        last = first + (MAX_STEPS.get(asked.by or "") or asked.limit)
        return json_response(
            {
                "from": json_objects.format_time(selection.start),
                "to": json_objects.format_time(selection.end),
                "by": asked.by,
                "totals": totals_object(found.totals, has_accepted=not asked.domain),
                "previous": _previous_object(before, found.previous, has_accepted=not asked.domain),
                "notices": found.notices,
                "items": [
                    {"group": name} | totals_object(one, has_accepted=asked.by not in (DOMAIN, CATEGORY))
                    for name, one in groups[first:last]
                ],
                "next": str(last) if last < len(groups) else None,
            }
        )


def _read_selection(parameters: StatisticParameters, now: datetime) -> Selection:
    """Raises ApiError."""
    end = parameters.until or now
    start = parameters.since or end - _DEFAULT_SPAN
    if start >= end:
        raise ApiError(400, "bad_request", "from: must be before to")
    if parameters.by in _STEPS and (end - start) / _STEPS[parameters.by] > MAX_STEPS[parameters.by]:
        raise ApiError(
            400, "bad_request", f"from: there would be more than {MAX_STEPS[parameters.by]} items by {parameters.by}"
        )
    hour = statistics.floor_hour(start)
    selection = Selection(hour, end, parameters.stream, parameters.tag or None, parameters.domain.lower() or None)
    if not statistics.is_counted(selection, parameters.by):
        raise ApiError(
            400, "bad_request", "domain: is not counted together with a stream or a tag: ask for one of them"
        )
    return selection


def _span_before(selection: Selection) -> Selection:
    assert selection.start is not None and selection.end is not None
    start = statistics.floor_hour(selection.start - (selection.end - selection.start))
    return selection._replace(start=start, end=selection.start)


def _previous_object(before: Selection | None, totals: Totals | None, *, has_accepted: bool) -> JsonObject | None:
    if before is None or totals is None:
        return None
    return {
        "from": json_objects.format_time(before.start),
        "to": json_objects.format_time(before.end),
        "totals": totals_object(totals, has_accepted=has_accepted),
    }


def _read_counts(
    connection: sa.Connection, selection: Selection, by: str | None, before: Selection | None = None
) -> _Counts:
    totals = statistics.read_totals(connection, selection)
    previous = statistics.read_totals(connection, before) if before else None
    notices = statistics.read_totals(connection, selection._replace(stream=NOTICE_STREAM)).accepted
    return _Counts(totals, previous, notices, statistics.read_groups(connection, selection, by) if by else {})


def _sort_groups(groups: dict[Any, Totals], selection: Selection, by: str | None) -> list[tuple[str, Totals]]:
    """Hours and days by time, all else by how much mail there was."""
    if by in _STEPS:
        return _every_step(groups, selection, by)
    return sorted(groups.items(), key=lambda one: (-_mail_volume(one[1]), one[0]))


def _every_step(groups: dict[Any, Totals], selection: Selection, by: str) -> list[tuple[str, Totals]]:
    """Each hour or day of the span, also where nothing happened."""
    assert selection.start is not None and selection.end is not None
    at, found = selection.start if by == HOUR else selection.start.replace(hour=0), []
    while at < selection.end:
        found.append((json_objects.format_time(at) or "", groups.get(at, Totals())))
        at += _STEPS[by]
    return found


def _mail_volume(totals: Totals) -> int:
    failed = totals.deferred + totals.bounced + totals.expired + totals.suppressed
    return totals.accepted + totals.delivered + failed + totals.opens.total + totals.clicks.total


def _accepted_format(request: Request) -> str:
    accept = request.headers.get("accept", "")[:1000]
    return "csv" if "text/csv" in accept and "application/json" not in accept else "json"


def _csv_response(by: str, totals: Totals, groups: Sequence[tuple[str, Totals]]) -> Response:
    text = io.StringIO()
    writer = csv.writer(text)
    plain = [name for name, value in Totals()._asdict().items() if isinstance(value, int)]
    hits = [f"{kind}_{verdict}" for kind in ("opens", "clicks") for verdict in totals.opens._fields]
    writer.writerow([by, *plain, *hits])
    for name, one in groups or [("all", totals)]:
        cells: Sequence[object] = [*(getattr(one, field) for field in plain), *one.opens, *one.clicks]
        writer.writerow([f"'{name}" if name.startswith(_FORMULA) else name, *cells])
    headers = {"cache-control": "no-store", "content-disposition": 'attachment; filename="waypost-stats.csv"'}
    return Response(text.getvalue(), headers=headers, media_type="text/csv; charset=utf-8")
