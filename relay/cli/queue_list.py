"""`waypost queue list`: mail that waits. Apart from what changes it, which takes 30 ms longer to load."""

import argparse
from datetime import UTC, datetime

from relay.cli import command, tables
from relay.cli.tables import Column, JsonObject
from relay.store.database.tables import Status
from relay.store.views import json_objects, queue_list
from relay.store.views.queue_list import QueueFilter


def list_deliveries(arguments: argparse.Namespace) -> int:
    wanted = QueueFilter(
        recipient=arguments.recipient,
        stream=arguments.stream,
        status=Status(arguments.status) if arguments.status else None,
        category=arguments.category,
        held=arguments.held or None,
        parked=arguments.parked or None,
        tag=arguments.tag,
        since=arguments.since,
        until=arguments.until,
    )
    with command.open_store(command.load_config(arguments), reads=True) as store, store.connect() as connection:
        page = queue_list.list_queue(connection, wanted, arguments.limit, datetime.now(UTC))
        items = [json_objects.queue_object(one) for one in page.items]
        tables.print_page(arguments, items, _COLUMNS, empty_text="nothing waits", has_more=bool(page.next))
    return 0


def _state(one: JsonObject) -> str:
    states = {"parked": one["parked"], "held": one["held_at"], "under way": one["under_way"]}
    return next((word for word, is_so in states.items() if is_so), one["status"])


def _last_reply(one: JsonObject) -> str:
    tried = one["last_attempt"]
    return f"{tried['code']} {tried['text']}" if tried and tried["code"] else (tried or {}).get("text", "")


_COLUMNS = (
    Column("ID", lambda one: one["id"]),
    Column("TO", lambda one: one["recipient"], shrinks=True),
    Column("STATE", _state),
    Column("TRIES", lambda one: one["attempts"], is_number=True),
    Column("NEXT", lambda one: tables.short_time(one["next_attempt_at"])),
    Column("CAUSE", lambda one: one["category"], shrinks=True),
    Column("LAST REPLY", _last_reply, shrinks=True, is_wide=True),
    Column("SUBJECT", lambda one: one["subject"], shrinks=True, is_wide=True),
)
