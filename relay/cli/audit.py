"""`waypost audit`: who changed what."""

import argparse

from relay.cli import command, tables
from relay.cli.tables import Column, JsonObject
from relay.store.console import audit_log
from relay.store.console.audit_log import AuditFilter
from relay.store.views import json_objects


def list_entries(arguments: argparse.Namespace) -> int:
    wanted = AuditFilter(
        by=arguments.by,
        door=arguments.door,
        action=arguments.action,
        target=arguments.target,
        recipient=arguments.recipient,
        since=arguments.since,
        until=arguments.until,
    )
    with command.open_store(command.load_config(arguments), reads=True) as store, store.connect() as connection:
        page = audit_log.list_entries(connection, wanted, arguments.limit)
    items = [json_objects.audit_object(row) for row in page.items]
    tables.print_page(arguments, items, _COLUMNS, empty_text="no change like that", has_more=bool(page.next))
    return 0


def _describe_object(one: JsonObject) -> str:
    return " ".join(str(one[name]) for name in ("target", "recipient", "detail") if one[name])


_COLUMNS = (
    Column("AT", lambda one: tables.short_time(one["at"], seconds=True)),
    Column("BY", lambda one: one["by"]),
    Column("DOOR", lambda one: one["door"]),
    Column("FROM", lambda one: one["origin"], is_wide=True),
    Column("ACTION", lambda one: one["action"]),
    Column("ABOUT", _describe_object, shrinks=True),
    Column("RESULT", lambda one: one["result"]),
    Column("COUNT", lambda one: one["count"], is_number=True),
)
