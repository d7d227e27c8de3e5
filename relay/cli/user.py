"""`waypost user`: accounts of the console, and password hashes for `[[access.user]]`."""

import argparse
import sys
from datetime import UTC, datetime

from relay.cli import command, output
from relay.cli.command import CommandError
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
    with command.open_store(command.load_config(arguments)) as store, store.connect() as connection:
        for row in accounts.list_accounts(connection):
            output.print_json(dict(row))
    return 0


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
