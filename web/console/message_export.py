"""Messages that a search finds, as a file: CSV with a row for each delivery, or JSON as the API has it.

In: a search.  Out: the file's text, a piece at a time, so that a long one takes no memory and no long transaction.
"""

import csv
import io
import json
import re
from collections.abc import AsyncIterator
from functools import partial

from relay.store.store import Store
from relay.store.views import json_objects, message_detail, message_search
from relay.store.views.message_detail import MessageDetail
from relay.store.views.search_query import MessageSearch

MAX_EXPORTED = 50_000  # messages
_PAGE_ROWS = 200
_COLUMNS = (
    "message", "accepted_at", "message_id", "from", "subject", "stream", "tags", "recipient", "status", "kind",
    "category", "last_attempt_at", "upstream", "code", "enhanced_status", "text", "opens_human", "opens_proxied",
    "opens_machine", "clicks_human", "clicks_machine",
)  # fmt: skip
_FORMULA = re.compile(r"[=+\-@\t\r]")  # what a spreadsheet would compute


async def csv_lines(store: Store, search: MessageSearch) -> AsyncIterator[str]:
    """The file as CSV, RFC 4180. What a spreadsheet would take for a formula begins with an apostrophe."""
    yield _csv_text([list(_COLUMNS)])
    async for page in _pages(store, search):
        yield _csv_text([_csv_row(one, number) for one in page for number in range(len(one.deliveries))])


async def json_lines(store: Store, search: MessageSearch) -> AsyncIterator[str]:
    """The file as JSON: a list of messages, each on a line."""
    yield "[\n"
    before = ""
    async for page in _pages(store, search):
        for one in page:
            yield before + json.dumps(json_objects.message_object(one), ensure_ascii=False)
            before = ",\n"
    yield "\n]\n"


async def _pages(store: Store, search: MessageSearch) -> AsyncIterator[list[MessageDetail]]:
    cursor, count = "", 0
    while count < MAX_EXPORTED:
        found = await store.read(partial(message_search.find_messages, search=search, limit=_PAGE_ROWS, before=cursor))
        most = message_detail.MAX_DELIVERIES
        yield await store.read(partial(message_detail.read_messages, message_ids=found.ids, max_deliveries=most))
        count, cursor = count + len(found.ids), found.next
        if not cursor:
            return


def _csv_row(one: MessageDetail, number: int) -> list[object]:
    delivery = one.deliveries[number]
    last = delivery.attempts[-1] if delivery.attempts else None
    return [
        one.id, json_objects.format_time(one.accepted_at), one.message_id, one.author, one.subject, one.stream,
        " ".join(one.tags), delivery.recipient, delivery.status, delivery.kind, delivery.category,
        json_objects.format_time(last.at) if last else "", last.upstream if last else "", last.code if last else "",
        last.status if last else "", last.text if last else "", delivery.opens.human, delivery.opens.proxied,
        delivery.opens.machine, delivery.clicks.human, delivery.clicks.machine,
    ]  # fmt: skip


def _csv_text(rows: list[list[object]]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows([[_format_cell(cell) for cell in row] for row in rows])
    return out.getvalue()


def _format_cell(value: object) -> str:
    text = "" if value is None else str(value).replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if _FORMULA.match(text) else text
