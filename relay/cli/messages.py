"""`waypost messages`: what became of mail."""

import argparse
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import sqlalchemy as sa

from relay.cli import command, tables
from relay.cli.command import CommandError
from relay.cli.tables import Column, JsonObject
from relay.store.database.tables import Status
from relay.store.views import json_objects, message_detail, message_search, search_query
from relay.store.views.search_query import MessageSearch

_PAGE = 200  # messages that are read together


def print_messages(arguments: argparse.Namespace) -> int:
    search = _read_search(arguments)
    with command.open_store(command.load_config(arguments), reads=True) as store, store.connect() as connection:
        found = _read_messages(connection, search, arguments.limit)
        tables.print_list(arguments, found, _COLUMNS, empty_text="no message")
    return 0


def _read_search(arguments: argparse.Namespace) -> MessageSearch:
    try:
        search = search_query.parse_search(" ".join([*arguments.query, arguments.more]), datetime.now(UTC))
    except search_query.SearchSyntaxError as error:
        raise CommandError(str(error)) from None
    return search.joined_with(
        MessageSearch(
            recipients=(arguments.recipient,) if arguments.recipient else (),
            tags=(arguments.tag,) if arguments.tag else (),
            statuses=(Status(arguments.status),) if arguments.status else (),
            streams=(arguments.stream,) if arguments.stream else (),
            since=arguments.since,
            until=arguments.until,
        )
    )


def _read_messages(connection: sa.Connection, search: MessageSearch, limit: int) -> Iterator[JsonObject]:
    left, before = limit, ""
    while left:
        page = message_search.find_messages(connection, search, min(left, _PAGE), before)
        for one in message_detail.read_messages(connection, page.ids, recipients=search.recipients):
            yield json_objects.message_object(one)
        left, before = left - len(page.ids), page.next
        if not before:
            break


def _recipients(message: JsonObject) -> str:
    names = [one["recipient"] or "(not kept)" for one in message["deliveries"]]
    return f"{names[0]} +{len(names) - 1}" if len(names) > 1 else "".join(names)


def _statuses(message: JsonObject) -> str:
    counts = Counter(one["status"] for one in message["deliveries"])
    if len(message["deliveries"]) == 1:
        return "".join(counts)
    return ", ".join(f"{status} {count}" for status, count in counts.most_common())


def _count_people(counts: dict[str, int]) -> int | str:
    return counts["human"] + counts["proxied"] or ""


_COLUMNS = (
    Column("AT", lambda one: tables.short_time(one["accepted_at"])),
    Column("TO", _recipients, shrinks=True),
    Column("SUBJECT", lambda one: one["subject"], shrinks=True),
    Column("STATUS", _statuses),
    Column("OPENS", lambda one: _count_people(one["opens"]), is_number=True, is_wide=True),
    Column("CLICKS", lambda one: _count_people(one["clicks"]), is_number=True, is_wide=True),
    Column("STREAM", lambda one: one["stream"], is_wide=True),
    Column("ID", lambda one: one["id"]),
)
