"""`waypost user`: accounts of the console, and password hashes for `[[access.user]]`."""

import argparse
import sys
from datetime import UTC, datetime

import sqlalchemy as sa

from relay.cli import command, output, tables
from relay.cli.command import CommandError
from relay.cli.tables import Column
from relay.config.schema import MIN_PASSWORD
from relay.store.console import accounts
from relay.store.console.audit_log import AuditedChange
from relay.store.console.roles import AccountRole


def add_account(arguments: argparse.Namespace) -> int:
    password = _ask_for_password(arguments.name)
    if arguments.smtp:
        output.print_line(
            f'\n[[access.user]]\nname = "{arguments.name}"\npassword_hash = "{accounts.hash_password(password)}"'
        )
        return 0
    config = command.load_config(arguments)
    with command.open_store(config) as store:
        command.write_audited(
            store,
            AuditedChange("account.password", arguments.name, detail=arguments.role or ""),
            lambda connection: accounts.set_password(
                connection,
                arguments.name,
                password,
                datetime.now(UTC),
                AccountRole(arguments.role) if arguments.role else None,
            ),
        )
    if arguments.name == accounts.FIRST_ACCOUNT:
        accounts.first_password_file(config.relay.data_dir).unlink(missing_ok=True)
    output.print_line(f"{arguments.name} may use the console")
    return 0


def list_accounts(arguments: argparse.Namespace) -> int:
    config = command.load_config(arguments)
    with command.open_store(config, reads=True) as store, store.connect() as connection:
        items = [
            {
                "name": row["name"],
                "of": "oidc" if row["is_external"] else "console",
                "role": row["role"],
                "created_at": row["created_at"],
            }
            for row in accounts.list_accounts(connection)
        ]
    items += [{"name": one.name, "of": "smtp", "senders": one.senders, "stream": one.stream or None} for one in
              config.access.user]  # fmt: skip
    tables.print_list(arguments, items, _COLUMNS, empty_text="no account; waypost user add NAME makes one")
    return 0


_COLUMNS = (
    Column("NAME", lambda one: one["name"]),
    Column("OF", lambda one: one["of"]),
    Column("ROLE", lambda one: one.get("role")),
    Column("SINCE", lambda one: f"{one['created_at']:%Y-%m-%d}" if "created_at" in one else ""),
    Column("SENDERS", lambda one: one.get("senders"), shrinks=True),
    Column("STREAM", lambda one: one.get("stream")),
)


def change_role(arguments: argparse.Namespace) -> int:
    role = AccountRole(arguments.role)
    with command.open_store(command.load_config(arguments)) as store:

        def change(connection: sa.Connection) -> tuple[bool, bool]:
            is_last = role is not AccountRole.ADMIN and accounts.is_last_admin(connection, arguments.name)
            return is_last, is_last or accounts.set_role(connection, arguments.name, role)

        is_last, was_there = command.write_audited(
            store,
            AuditedChange("account.role", arguments.name, detail=role),
            change,
            count=lambda done: int(done[1] and not done[0]),
        )
    if is_last:
        raise CommandError(f"{arguments.name} is the last admin: make another one first")
    if not was_there:
        raise CommandError(f"there is no account named {arguments.name}")
    output.print_line(f"{arguments.name} is now {role.with_article}")
    return 0


def remove_account(arguments: argparse.Namespace) -> int:
    name = arguments.name
    with command.open_store(command.load_config(arguments)) as store:
        with store.connect() as connection:
            names = [row["name"] for row in accounts.list_accounts(connection)]
            is_last, is_last_admin = names == [name], accounts.is_last_admin(connection, name)
        if name in names and is_last_admin and not arguments.yes:
            _confirm_removal(name, "account" if is_last else "admin")
        is_gone = command.write_audited(
            store, AuditedChange("account.remove", name), lambda connection: accounts.remove_account(connection, name)
        )
    if not is_gone:
        raise CommandError(f"there is no account named {name}")
    output.print_line(f"{name} may no longer use the console")
    if is_last:
        first = accounts.FIRST_ACCOUNT
        output.print_line(
            f"It was the last account: waypost user add NAME makes one, and so does the next start ({first})"
        )
    return 0


def _confirm_removal(name: str, noun: str) -> None:
    """Asks before the last account, or the last admin, is removed. Raises CommandError."""
    if not sys.stdin.isatty():
        raise CommandError(f"{name} is the last {noun}; say --yes to remove it, or add another one first")
    if input(f"{name} is the last {noun}. Remove it? [y/N] ").strip().lower() not in ("y", "yes"):
        raise CommandError("nothing was removed")


def _ask_for_password(name: str) -> str:
    password = command.ask_for_secret(f"Password for {name}: ")
    if sys.stdin.isatty() and command.ask_for_secret("Again: ") != password:
        raise CommandError("the passwords differ")
    if len(password) < MIN_PASSWORD:
        raise CommandError(f"the password needs {MIN_PASSWORD} characters or more")
    return password
