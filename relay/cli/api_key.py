"""`waypost api-key`: the keys of the JSON API."""

import argparse
from datetime import UTC, datetime

from relay.cli import command, output, tables
from relay.cli.command import CommandError
from relay.cli.tables import Column
from relay.store.console import api_keys
from relay.store.console.audit_log import AuditedChange


def create_key(arguments: argparse.Namespace) -> int:
    scopes = sorted({scope for some in arguments.scope or [[api_keys.ALL]] for scope in some})
    with command.open_store(command.load_config(arguments)) as store:
        key = command.write_audited(
            store,
            AuditedChange("api_key.create", arguments.name, detail=", ".join(scopes)),
            lambda connection: api_keys.create_key(
                connection, arguments.name, datetime.now(UTC), scopes, arguments.expires
            ),
            count=lambda made: int(made is not None),
        )
    if key is None:
        raise CommandError(f"there is a key named {arguments.name}; revoke it first, or choose another name")
    output.print_line(key)
    return 0


def list_keys(arguments: argparse.Namespace) -> int:
    with command.open_store(command.load_config(arguments), reads=True) as store, store.connect() as connection:
        items = [dict(row) for row in api_keys.list_keys(connection)]
    tables.print_list(arguments, items, _COLUMNS, empty_text="no key; waypost api-key create NAME makes one")
    return 0


_COLUMNS = (
    Column("NAME", lambda one: one["name"]),
    Column("SCOPES", lambda one: one["scopes"], shrinks=True),
    Column("SINCE", lambda one: _day(one["created_at"])),
    Column("UNTIL", lambda one: _day(one["expires_at"])),
    Column("LAST USED", lambda one: _day(one["used_at"])),
)


def _day(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d}" if at else ""


def revoke_key(arguments: argparse.Namespace) -> int:
    with command.open_store(command.load_config(arguments)) as store:
        is_gone = command.write_audited(
            store,
            AuditedChange("api_key.revoke", arguments.name),
            lambda connection: api_keys.revoke_key(connection, arguments.name),
        )
    if not is_gone:
        raise CommandError(f"there is no key named {arguments.name}")
    output.print_line(f"{arguments.name} is revoked")
    return 0
