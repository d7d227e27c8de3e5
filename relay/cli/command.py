"""What commands share: errors, the configuration, the store, and questions to the user.

The configuration and the database are loaded when they are asked for: a command that needs neither starts at once.
"""

import argparse
import contextlib
import getpass
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from relay import address
from relay.address import Mailbox
from relay.operator_error import OperatorError

if TYPE_CHECKING:
    from relay.config.schema import Config
    from relay.store.store import Store


class CommandError(OperatorError):
    """The command failed. The text is a line on standard error, and the exit status is 1."""


def load_config(arguments: argparse.Namespace) -> "Config":
    """The configuration that `--config` names. Raises load.ConfigError."""
    from relay.config import load

    return load.load(load.find_file(arguments.config))


@contextlib.contextmanager
def open_store(config: "Config") -> Iterator["Store"]:
    """The store, opened for one command. Raises OperatorError."""
    import sqlalchemy as sa

    from relay.node import data_directory

    data_directory.prepare_data(config)
    opened = data_directory.open_store(config)
    try:
        yield opened
    except sa.exc.SQLAlchemyError as error:
        raise CommandError(f"the database says: {data_directory.describe_database_error(error)}") from None
    finally:
        opened.close()


def ask_for_secret(prompt: str) -> str:
    """A line that the terminal does not show; without a terminal, a line of standard input."""
    return getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")


def parse_mailbox(text: str, *, needs_domain: bool = True) -> Mailbox:
    """The address that a user gave; `postmaster` has no domain. Raises CommandError."""
    try:
        mailbox = address.parse_path(f"<{text}>").mailbox
    except address.PathSyntaxError as error:
        raise CommandError(f"{error}: {text}") from None
    if not (address.domain(mailbox) if needs_domain else mailbox):
        raise CommandError("an address is needed")
    return mailbox
