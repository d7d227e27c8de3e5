"""`waypost user`: accounts of the console, and password hashes for `[[access.user]]`."""

import argparse
import sys
from datetime import UTC, datetime

from relay.cli import command
from relay.cli.command import CommandError, Commands
from relay.store.console import accounts

_DESCRIPTION = """\
add asks for a password (or reads a line of standard input). By default the account is the console's; one that
exists gets the new password, which signs it out everywhere. With --smtp nothing is stored: the table for config.toml
is printed.

  waypost user add ann
  waypost user add shop --smtp >> config.toml
  waypost user remove ann"""


def add_command(commands: Commands) -> None:
    parser = commands.add_parser("user", help="add, list or remove accounts", description=_DESCRIPTION)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    adding = actions.add_parser("add", help="add an account, or change its password")
    adding.add_argument("name")
    adding.add_argument("--smtp", action="store_true", help="an SMTP user: print its [[access.user]] table")
    adding.set_defaults(run=_add_account)
    actions.add_parser("list", help="the console's accounts and their ages").set_defaults(run=_list_accounts)
    removing = actions.add_parser("remove", help="remove a console account, and end its sessions")
    removing.add_argument("name")
    removing.set_defaults(run=_remove_account)


def _add_account(arguments: argparse.Namespace) -> int:
    password = _ask_for_password(arguments.name)
    if arguments.smtp:
        command.print_line(
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
    command.print_line(f"{arguments.name} may use the console")
    return 0


def _list_accounts(arguments: argparse.Namespace) -> int:
    with command.open_store(command.load_config(arguments)) as store, store.connect() as connection:
        for row in accounts.list_accounts(connection):
            command.print_json(dict(row))
    return 0


def _remove_account(arguments: argparse.Namespace) -> int:
    with command.open_store(command.load_config(arguments)) as store:
        is_gone = store.writer.submit(lambda connection: accounts.remove_account(connection, arguments.name)).result()
        with store.connect() as connection:
            is_last = not accounts.has_accounts(connection)
    if not is_gone:
        raise CommandError(f"there is no account named {arguments.name}")
    command.print_line(f"{arguments.name} may no longer use the console")
    if is_last:
        first = accounts.FIRST_ACCOUNT
        command.print_line(
            f"It was the last account: waypost user add NAME makes one, and so does the next start ({first})"
        )
    return 0


def _ask_for_password(name: str) -> str:
    password = command.ask_for_secret(f"Password for {name}: ")
    if sys.stdin.isatty() and command.ask_for_secret("Again: ") != password:
        raise CommandError("the passwords differ")
    if len(password) < 8:
        raise CommandError("the password needs 8 characters or more")
    return password
