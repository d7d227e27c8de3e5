"""Messages: a list with one search box, its export, one message with everything that is known, and what can be done.

In: a session that the gate let through.  Out: pages; CSV and JSON with a row or an object for each that a search finds.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple

import sqlalchemy as sa
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from relay import ids, suppression_reason
from relay.config.schema import Config
from relay.store import refusals
from relay.store.console import bulk_actions
from relay.store.console.audit_log import AuditedChange
from relay.store.console.bulk_actions import BulkResult
from relay.store.database.tables import Status
from relay.store.queue import resend
from relay.store.recipients import suppressions
from relay.store.refusals import RefusalFilter
from relay.store.store import Store
from relay.store.views import message_detail, message_list, recipient_fates, search_query
from relay.store.views.message_detail import MessageDetail
from relay.store.views.search_query import MessageSearch
from web import audited
from web.console import delivery_states, message_export, page_filters, queue_pages, sign_in
from web.console.conversations import ConversationReader
from web.console.page_filters import PageFilters

_PAGE_ROWS = 50
_MAX_RECIPIENT, _MAX_BOX = 320, 4000  # characters
_BACK = re.compile(r"/messages(\?[^\s\\]{0,2000})?")
_FILTERS = ("q", "status", "stream", "from", "to")


class _AskedSearch(NamedTuple):
    search: MessageSearch
    fault: str  # why the box could not be read; then its text is looked for as it stands
    filters: dict[str, str]  # the filters that are set, for addresses of other pages


class MessagePages:
    """The routes under `/messages`."""

    def __init__(self, config: Config, store: Store, page: Callable[..., Response]) -> None:
        self._store = store
        self._conversations = ConversationReader(config)
        self._render_page = page

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/messages", self.list_messages),
            Route("/messages", self.change_messages, methods=["POST"]),
            Route("/messages/export", self.export_chosen, methods=["POST"]),
            Route("/messages.csv", self.export_csv),
            Route("/messages.json", self.export_json),
            Route("/messages/{message}", self.show_message),
            Route("/messages/{message}", self.change_message, methods=["POST"]),
        ]

    async def list_messages(self, request: Request) -> Response:
        filters = PageFilters(request.query_params, (*_FILTERS, "before"))
        asked, begun = _read_search(filters), filters.cursor("before", page_filters.MESSAGE_ID, "older messages")
        before = begun[0] if begun else ""
        refused_text = _text_for_refusals(asked.search)
        found, fates, streams, refused = await self._store.read(
            lambda connection: (
                page := message_list.list_messages(connection, _PAGE_ROWS, asked.search, before),
                recipient_fates.find_fates(connection, [line.id for line in page.items], asked.search),
                message_list.list_streams(connection),
                refusals.count_refusals(connection, RefusalFilter(text=refused_text)) if refused_text else 0,
            )
        )
        return self._render_page(
            request,
            "messages.html",
            "messages",
            lines=found.items,
            fates=fates,
            refused=refused,
            refused_text=refused_text,
            asked={name: asked.filters.get(name, "") for name in _FILTERS},
            fault=asked.fault,
            faults=filters.faults,
            streams=streams,
            is_filtered=bool(asked.filters),
            is_later_page=bool(before),
            here=page_filters.page_url("/messages", asked.filters | ({"before": before} if before else {})),
            newest=page_filters.page_url("/messages", asked.filters),
            older=page_filters.page_url("/messages", asked.filters | {"before": found.next}) if found.next else "",
            looked_back_to=ids.time_of(found.next) if found.next else None,
            csv_url=page_filters.page_url("/messages.csv", asked.filters),
            json_url=page_filters.page_url("/messages.json", asked.filters),
        )

    async def export_csv(self, request: Request) -> Response:
        filters = PageFilters(request.query_params, _FILTERS)
        rows = message_export.csv_lines(self._store, _read_search(filters).search)
        if refusal := filters.refusal():
            return refusal
        return StreamingResponse(rows, media_type="text/csv; charset=utf-8", headers=_download("messages.csv"))

    async def export_json(self, request: Request) -> Response:
        filters = PageFilters(request.query_params, _FILTERS)
        rows = message_export.json_lines(self._store, _read_search(filters).search)
        if refusal := filters.refusal():
            return refusal
        return StreamingResponse(rows, media_type="application/json", headers=_download("messages.json"))

    async def change_messages(self, request: Request) -> Response:
        """Does the same to all messages that are ticked."""
        form = await sign_in.read_checked_form(request)
        action, chosen = str(form.get("do", "")), _read_chosen(form)
        if action not in bulk_actions.ACTIONS:
            raise HTTPException(400)
        done = await audited.act_on_messages(self._store, request, action, chosen)
        request.session["notice"] = _describe_bulk(action, done)
        back = str(form.get("back", ""))
        return RedirectResponse(back if _BACK.fullmatch(back) else "/messages", 303)

    async def export_chosen(self, request: Request) -> Response:
        form = await sign_in.read_checked_form(request)
        search = MessageSearch(message_ids=tuple(_read_chosen(form)) or ("-",))  # nothing ticked: nothing
        if form.get("do") == "json":
            rows = message_export.json_lines(self._store, search)
            return StreamingResponse(rows, media_type="application/json", headers=_download("messages.json"))
        rows = message_export.csv_lines(self._store, search)
        return StreamingResponse(rows, media_type="text/csv; charset=utf-8", headers=_download("messages.csv"))

    async def show_message(self, request: Request) -> Response:
        wanted = request.path_params["message"]
        asked = _read_asked_deliveries(request)
        found = await self._store.read(partial(_read_message, message=wanted, asked=asked))
        if found is None:
            raise HTTPException(404)
        recipients = [one.recipient for one in found.detail.deliveries if one.recipient]
        entries = await self._store.read(lambda connection: suppressions.list_of_addresses(connection, recipients))
        now = datetime.now(UTC)
        return self._render_page(
            request,
            "message.html",
            "messages",
            detail=found.detail,
            asked=asked,
            is_found=found.is_found,
            statuses=found.statuses,
            conversations={
                one.number: self._conversations.of_attempts(found.detail, one) for one in found.detail.deliveries
            },
            client_conversation=self._conversations.of_client(found.detail, found.client_name),
            states={one.number: delivery_states.describe_state(one) for one in found.detail.deliveries},
            entries={
                who: [
                    one for one in rows if _holds_back(one.scope, one.stream, one.expires_at, found.detail.stream, now)
                ]
                for who, rows in entries.items()
            },
            is_waiting=any(one.is_open for one in found.statuses),
        )

    async def change_message(self, request: Request) -> Response:
        form, message = await sign_in.read_checked_form(request), request.path_params["message"]
        action, delivery = str(form.get("do", "")), str(form.get("delivery", "")) or message
        there = f"/messages/{message}"
        if action != "resend":
            request.session["notice"] = await queue_pages.apply_action(self._store, request, action, [delivery])
            return RedirectResponse(there, 303)
        recipients = [str(form["recipient"])] if form.get("recipient") else []
        by, now = request.state.account, datetime.now(UTC)
        try:
            made = await audited.write(
                self._store,
                request,
                AuditedChange("message.resend", message, *recipients),
                lambda connection: resend.resend_message(connection, message, now, by, recipients),
                count=lambda sent: len(sent.recipients) if sent else 0,
            )
        except resend.CannotResendError as error:
            request.session["notice"] = f"Nothing was sent: {error}."
            return RedirectResponse(there, 303)
        if made is None:
            raise HTTPException(404)
        who = made.recipients[0] if len(made.recipients) == 1 else f"{len(made.recipients):,} recipients"
        request.session["notice"] = f"It is sent again to {who}, as this new message."
        return RedirectResponse(f"/messages/{made.message}", 303)


class _AskedDeliveries(NamedTuple):
    """Which deliveries of a message are shown: those to a recipient (an address or a part of one), or of a status."""

    recipient: str
    status: Status | None


class _ReadMessage(NamedTuple):
    detail: MessageDetail
    is_found: bool  # it has such deliveries; else any are shown
    statuses: dict[Status, int]
    client_name: str  # in its EHLO


def _read_asked_deliveries(request: Request) -> _AskedDeliveries:
    recipient = request.query_params.get("recipient", "").strip().replace("\x00", "")[:_MAX_RECIPIENT]
    status = request.query_params.get("status", "")
    return _AskedDeliveries(recipient, Status(status) if status in set(Status) else None)


def _read_message(connection: sa.Connection, message: str, asked: _AskedDeliveries) -> _ReadMessage | None:
    numbers = message_detail.find_deliveries(connection, message, *asked)
    is_found = bool(numbers)
    if not is_found:
        numbers = message_detail.find_deliveries(connection, message)
    detail = message_detail.read_message(connection, message, numbers)
    if detail is None:
        return None
    by_number = {one.number: one for one in detail.deliveries}
    detail = detail._replace(deliveries=[by_number[number] for number in numbers if number in by_number])
    statuses, client_name = (
        message_detail.count_statuses(connection, message),
        message_detail.find_client_name(connection, message),
    )
    return _ReadMessage(detail, is_found, statuses, client_name)


def _read_chosen(form: FormData) -> list[str]:
    """The messages that are ticked. Raises HTTPException 400."""
    chosen = [str(one) for one in form.getlist("message")][: bulk_actions.MAX_MESSAGES]
    if not all(page_filters.MESSAGE_ID.fullmatch(one) for one in chosen):
        raise HTTPException(400)
    return chosen


_DONE = {
    "retry": "attempted now",
    "hold": "held: not attempted until released",
    "release": "released and attempted now",
    "drop": "dropped: not attempted any more",
    "resend": "sent again",
}


def _describe_bulk(action: str, results: Sequence[BulkResult]) -> str:
    """What was done to how many, and why nothing to the others."""
    if not results:
        return "Nothing was chosen, and nothing changed."
    deliveries, faults = sum(one.deliveries for one in results), Counter(one.fault for one in results if one.fault)
    messages = sum(not one.fault for one in results)
    of = f"{_format_count(deliveries, 'delivery', 'deliveries')} of {_format_count(messages, 'message')}"
    sentences = [f"{of}: {_DONE[action]}."]
    sentences += [f"{_format_count(count, 'message')}: {fault}." for fault, count in faults.most_common(3)]
    return " ".join(sentences if messages else sentences[1:])


def _format_count(count: int, singular: str, plural: str = "") -> str:
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


def _holds_back(scope: str, stream: str, expires_at: datetime | None, of_message: str, now: datetime) -> bool:
    """True for an entry that keeps mail of the message's stream from the address now."""
    return (scope == suppression_reason.ALL or stream == of_message) and (expires_at is None or expires_at > now)


def _text_for_refusals(search: MessageSearch) -> str:
    """The text to search refused mail for: the only recipient, author or word of the search."""
    texts = (*search.recipients, *search.authors, *search.words)
    return texts[0] if len(texts) == 1 and not search.statuses else ""


def _read_search(filters: PageFilters) -> _AskedSearch:
    """The search in box and filters. A box that cannot be parsed is searched for as plain text."""
    status, fault = filters.choice("status", Status), ""
    since, until = filters.days()
    left_out = {"status": not status, "from": not since, "to": not until}
    kept = {name: text for name in _FILTERS if (text := filters.text(name, _MAX_BOX)) and not left_out.get(name)}
    text = kept.get("q", "")
    search = MessageSearch(
        statuses=(Status(status),) if status else (),
        streams=(filters.stream(),) if "stream" in kept else (),
        since=since,
        until=until + timedelta(days=1) if until else None,
    )
    try:
        box = search_query.parse_search(text, datetime.now(UTC))
    except search_query.SearchSyntaxError as error:
        box, fault = MessageSearch(words=(text[: search_query.MAX_TEXT],)), str(error)
    return _AskedSearch(search.joined_with(box), fault, kept)


def _download(name: str) -> dict[str, str]:
    return {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
