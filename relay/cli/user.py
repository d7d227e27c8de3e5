"""`waypost user`: accounts of the console, and password hashes for `[[access.user]]`."""

import argparse
import sys
from datetime import UTC, datetime

from relay.cli import command, output, tables
from relay.cli.command import CommandError
from relay.cli.tables import Column
from relay.config.schema import MIN_PASSWORD
from relay.store.console import accounts


def add_account(arguments: argparse.Namespace) -> int:
    password = _ask_for_password(arguments.name)
    if arguments.smtp:
        output.print_line(
            f'\n[[access.user]]\nname = "{arguments.name}"\npassword_hash = "{accounts.hash_password(password)}"'
        )
        return 0
    config = command.load_config(arguments)
    with command.open_store(config) as store:
        store.writer.submit(
            lambda connection: accounts.set_password(connection, arguments.name, password, datetime.now(UTC))
        ).result()
    if arguments.name == accounts.FIRST_ACCOUNT:
        accounts.first_password_file(config.relay.data_dir).unlink(missing_ok=True)
    output.print_line(f"{arguments.name} may use the console")
    return 0


def list_accounts(arguments: argparse.Namespace) -> int:
    config = command.load_config(arguments)
    with command.open_store(config) as store, store.connect() as connection:
        items = [{"name": row["name"], "of": "console", "created_at": row["created_at"]} for row in
                 accounts.list_accounts(connection)]  # fmt: skip
    items += [{"name": one.name, "of": "smtp", "senders": one.senders, "stream": one.stream or None} for one in
              config.access.user]  # fmt: skip
    tables.print_list(arguments, items, _COLUMNS, empty="no account; waypost user add NAME makes one")
    return 0


_COLUMNS = (
    Column("NAME", lambda one: one["name"]),
    Column("OF", lambda one: one["of"]),
    Column("SINCE", lambda one: f"{one['created_at']:%Y-%m-%d}" if "created_at" in one else ""),
    Column("SENDERS", lambda one: one.get("senders"), shrinks=True),
    Column("STREAM", lambda one: one.get("stream")),
)


def remove_account(arguments: argparse.Namespace) -> int:
    with command.open_store(command.load_config(arguments)) as store:
        is_gone = store.writer.submit(lambda connection: accounts.remove_account(connection, arguments.name)).result()
        with store.connect() as connection:
            is_last = not accounts.has_accounts(connection)
    if not is_gone:
        raise CommandError(f"there is no account named {arguments.name}")
    output.print_line(f"{arguments.name} may no longer use the console")
    if is_last:
        first = accounts.FIRST_ACCOUNT
        output.print_line(
            f"It was the last account: waypost user add NAME makes one, and so does the next start ({first})"
        )
    return 0


def _ask_for_password(name: str) -> str:
    password = command.ask_for_secret(f"Password for {name}: ")
    if sys.stdin.isatty() and command.ask_for_secret("Again: ") != password:
        raise CommandError("the passwords differ")
    if len(password) < MIN_PASSWORD:
        raise CommandError(f"the password needs {MIN_PASSWORD} characters or more")
    return password
