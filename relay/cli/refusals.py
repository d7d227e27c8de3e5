"""`waypost refusals`: what clients were refused, and why."""

import argparse

from relay.cli import command, tables
from relay.cli.tables import Column
from relay.store import refusals
from relay.store.refusals import RefusalFilter
from relay.store.views import json_objects


def list_refusals(arguments: argparse.Namespace) -> int:
    wanted = RefusalFilter(
        text=arguments.query,
        recipient=arguments.recipient,
        sender=arguments.sender,
        code=arguments.code,
        since=arguments.since,
        until=arguments.until,
    )
    with command.open_store(command.load_config(arguments), reads=True) as store, store.connect() as connection:
        page = refusals.list_refusals(connection, wanted, arguments.limit)
    items = [json_objects.refusal_object(row) for row in page.items]
    tables.print_page(arguments, items, _COLUMNS, empty_text="nothing like that was refused", has_more=bool(page.next))
    return 0


_COLUMNS = (
    Column("AT", lambda one: tables.short_time(one["at"], seconds=True)),
    Column("CLIENT", lambda one: " ".join(filter(None, (one["user"], one["ip"]))) or f"{one['count']} more"),
    Column("COMMAND", lambda one: one["command"]),
    Column("FROM", lambda one: one["from"] or "", is_wide=True),
    Column("TO", lambda one: one["recipient"] or ""),
    Column("REPLY", lambda one: f"{one['code']} {one['status'] or ''} {one['text']}", shrinks=True),
)
