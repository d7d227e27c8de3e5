"""The API's suppressions: `GET|POST|DELETE suppressions`, one or many at a time.

In: requests behind the API's gate.  Out: JSON, in the form of `web.api.answers`. If one of many entries is wrong, none
is added.
"""

from datetime import UTC, datetime
from functools import partial

import sqlalchemy as sa
from pydantic import AwareDatetime, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from relay import suppression_reason
from relay.config import values
from relay.store.console.audit_log import AuditedChange
from relay.store.recipients import suppressions
from relay.store.recipients.suppressions import SuppressionEntry, SuppressionFilter
from relay.store.store import Store
from relay.store.views import json_objects
from relay.suppression_reason import SuppressionReason, SuppressionScope
from web import audited
from web.api.answers import ApiError, RequestBody, json_response, list_response, read_body
from web.api.openapi import documented
from web.api.parameters import (
    Address,
    AnyStream,
    Duration,
    Moment,
    NumberCursor,
    PageParameters,
    QueryParameters,
    Stream,
    Text,
    read_query,
)
from web.api.schemas import AddedAnswer, RemovedAnswer, SuppressionList, SuppressionObject

MAX_ENTRIES = 10_000  # at a time
_MAX_EVIDENCE = 1000  # characters
_MAX_STREAMS = 1000  # that have an entry for one address
_ENTRIES_PER_COMMIT = 1000


class SuppressionParameters(PageParameters):
    since: Moment | None = Field(default=None, alias="from", description="added then or later")
    until: Moment | None = Field(default=None, alias="to", description="added before then")
    cursor: NumberCursor = ""
    q: Text = Field(default="", description="a part of an address")
    address: Text = Field(default="", description="a whole address")
    scope: SuppressionScope | None = None
    stream: Stream = ""
    reason: SuppressionReason | None = None


class NewSuppression(RequestBody):
    """An address that is to get no mail: of one stream, or none at all."""

    address: Address
    stream: AnyStream | None = None
    reason: SuppressionReason = "manual"
    evidence: str = Field(default="", max_length=_MAX_EVIDENCE, description="why, to read later")
    expires_in: Duration | None = Field(default=None, description="how long it lasts")
    expires_at: AwareDatetime | None = Field(
        default=None, description="until when it lasts; with expires_in too, the earlier end counts; none: for good"
    )


class NewSuppressions(RequestBody):
    items: list[NewSuppression] = Field(max_length=MAX_ENTRIES)


class RemovalParameters(QueryParameters):
    address: Address
    stream: AnyStream | None = Field(default=None, description="the entry of this stream; none: every entry")
    reason: SuppressionReason | None = None


class Removal(RequestBody):
    address: Address
    stream: AnyStream | None = None


class Removals(RequestBody):
    items: list[Removal] = Field(max_length=MAX_ENTRIES)


class SuppressionApi:
    """The endpoints under `suppressions`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/suppressions", self.list_suppressions),
            Route("/suppressions", self.add_suppression, methods=["POST"]),
            Route("/suppressions", self.remove_suppressions, methods=["DELETE"]),
            Route("/suppressions/bulk", self.add_many, methods=["POST"]),
            Route("/suppressions/bulk/remove", self.remove_many, methods=["POST"]),
        ]

    @documented("Addresses that get no mail, the newest first", query=SuppressionParameters, response=SuppressionList)
    async def list_suppressions(self, request: Request) -> Response:
        asked = read_query(request, SuppressionParameters)
        wanted = SuppressionFilter(
            asked.address, asked.scope or "", asked.stream, asked.reason or "", asked.since, asked.until
        )
        rows = await self._store.read(
            partial(
                suppressions.list_suppressions,
                limit=asked.limit + 1,
                query=asked.q,
                after=int(asked.cursor or 0),
                entry_filter=wanted,
            )
        )
        shown = rows[: asked.limit]
        following = str(shown[-1]["id"]) if len(rows) > asked.limit else ""
        return list_response([json_objects.suppression_object(row) for row in shown], following)

    @documented(
        "Suppress an address; an entry that is there stays, unless it ends sooner",
        NewSuppression,
        status=201,
        response=SuppressionObject,
        other_status=200,
    )
    async def add_suppression(self, request: Request) -> Response:
        entry = _entry(await read_body(request, NewSuppression), str(request.state.api_key), datetime.now(UTC))
        is_new, row = await audited.write(
            self._store,
            request,
            AuditedChange("suppression.add", entry.stream, entry.address),
            lambda connection: _add_one(connection, entry),
            count=lambda done: int(done[0]),
        )
        return json_response(json_objects.suppression_object(row), 201 if is_new else 200)

    @documented("Send mail to an address again", query=RemovalParameters, response=RemovedAnswer)
    async def remove_suppressions(self, request: Request) -> Response:
        asked = read_query(request, RemovalParameters)
        removed = await audited.write(
            self._store,
            request,
            AuditedChange("suppression.remove", asked.stream or "", asked.address),
            partial(suppressions.remove_suppressions, mailbox=asked.address, stream=asked.stream, reason=asked.reason),
        )
        if not removed:
            raise ApiError(404, "not_found", f"{asked.address} is not suppressed")
        return json_response({"removed": removed})

    @documented("Suppress many addresses", NewSuppressions, response=AddedAnswer)
    async def add_many(self, request: Request) -> Response:
        asked, now = await read_body(request, NewSuppressions), datetime.now(UTC)
        entries = [_entry(one, str(request.state.api_key), now) for one in asked.items]
        added = 0
        for at in range(0, len(entries), _ENTRIES_PER_COMMIT):
            some = entries[at : at + _ENTRIES_PER_COMMIT]
            work = partial(suppressions.add_suppressions, entries=some)
            added += await audited.write(self._store, request, AuditedChange("suppression.add_many"), work)
        return json_response({"added": added, "known": len(entries) - added})

    @documented("Send mail to many addresses again", Removals, response=RemovedAnswer)
    async def remove_many(self, request: Request) -> Response:
        asked = await read_body(request, Removals)
        by_stream: dict[str | None, list[str]] = {}
        for one in asked.items:
            by_stream.setdefault(one.stream, []).append(one.address)
        removed = 0
        for stream, mailboxes in by_stream.items():
            for at in range(0, len(mailboxes), _ENTRIES_PER_COMMIT):
                some = mailboxes[at : at + _ENTRIES_PER_COMMIT]
                work = partial(suppressions.remove_many, mailboxes=some, stream=stream)
                change = AuditedChange("suppression.remove_many", stream or "")
                removed += await audited.write(self._store, request, change, work)
        return json_response({"removed": removed})


def _entry(new: NewSuppression, by: str, now: datetime) -> SuppressionEntry:
    ends = [now + values.read_duration(new.expires_in)] if new.expires_in else []
    expires_at = min([*ends, new.expires_at] if new.expires_at else ends, default=None)
    scope = suppression_reason.ALL if new.stream is None else suppression_reason.STREAM
    evidence = new.evidence or f"by the API key {by}"
    return SuppressionEntry(new.address, scope, new.stream or "", new.reason, evidence, now, expires_at)


def _add_one(connection: sa.Connection, entry: SuppressionEntry) -> tuple[bool, sa.RowMapping]:
    """True if it is new, and the entry as it stands."""
    is_new = suppressions.add_suppressions(connection, [entry]) == 1
    rows = suppressions.list_suppressions(
        connection, _MAX_STREAMS, entry_filter=SuppressionFilter(address=entry.address)
    )
    return is_new, next(row for row in rows if (row["scope"], row["stream"]) == (entry.scope, entry.stream))
