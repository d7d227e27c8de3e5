"""What all commands share: how they are added, how they fail, where the configuration comes from."""

import argparse
import getpass
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TypeAlias

import sqlalchemy as sa

from relay import address
from relay.address import Mailbox
from relay.config import load, values
from relay.config.schema import Config
from relay.node import data_directory
from relay.store.store import Store
from relay.store.views import json_objects

Run = Callable[[argparse.Namespace], int]
# argparse has no public name for what add_subparsers returns.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class CommandError(Exception):
    """The command cannot do it; the text is its one line on standard error. Exit status 1."""


def load_config(arguments: argparse.Namespace) -> Config:
    """The configuration that `--config` names. Raises load.ConfigError."""
    return load.load(load.find_file(arguments.config))


@contextmanager
def open_store(config: Config) -> Iterator[Store]:
    """The store, opened for one command. Raises CommandError."""
    try:
        data_directory.prepare_data(config)
    except data_directory.StartupError as error:
        raise CommandError(str(error)) from None
    opened = data_directory.open_store(config)
    try:
        yield opened
    except sa.exc.SQLAlchemyError as error:
        reason = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        raise CommandError(f"the database says: {reason}") from None
    finally:
        opened.close()


def ask_for_secret(prompt: str) -> str:
    """A line from the terminal that it does not show, or else of standard input."""
    return getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")


def positive_count(text: str) -> int:
    """How many, for argparse: 1 or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def duration(text: str) -> timedelta:
    """A time such as 30m, 12h or 7d, for argparse."""
    try:
        return values.read_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parse_mailbox(text: str, *, needs_domain: bool = True) -> Mailbox:
    """The address that a user gave; `postmaster` has no domain. Raises CommandError."""
    try:
        mailbox = address.parse_path(f"<{text}>").mailbox
    except address.PathSyntaxError as error:
        raise CommandError(f"{error}: {text}") from None
    if not (address.domain(mailbox) if needs_domain else mailbox):
        raise CommandError("an address is needed")
    return mailbox


def print_line(line: str) -> None:
    """A line on standard output."""
    sys.stdout.write(line + "\n")


def print_json(value: object) -> None:
    """A JSON object on a line of its own; times in ISO 8601."""
    print_line(json.dumps(value, ensure_ascii=False, default=_to_json))


def _to_json(value: object) -> object:
    if isinstance(value, datetime):
        return json_objects.format_time(value)
    raise TypeError(f"not JSON: {type(value).__name__}")
