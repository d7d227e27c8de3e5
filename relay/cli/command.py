"""What commands share: errors, the configuration, the store, and questions to the user.

The configuration and the database are loaded when they are asked for: a command that needs neither starts at once.
"""

import argparse
import contextlib
import getpass
import os
import pwd
import socket
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from relay import address
from relay.address import Mailbox
from relay.operator_error import OperatorError

if TYPE_CHECKING:
    import sqlalchemy as sa

    from relay.config.schema import Config
    from relay.store.console.audit_log import Actor, AuditedChange
    from relay.store.store import Store

T = TypeVar("T")


class CommandError(OperatorError):
    """The command failed. The text is a line on standard error, and the exit status is 1."""


def load_config(arguments: argparse.Namespace) -> "Config":
    """The configuration that `--config` names. Raises load.ConfigError."""
    from relay.config import load

    return load.load(load.find_file(arguments.config))


@contextlib.contextmanager
def open_store(config: "Config", *, reads: bool = False) -> Iterator["Store"]:
    """The store, opened for one command; one that only `reads` needs no write access. Raises OperatorError."""
    import sqlalchemy as sa

    from relay.node import data_directory

    with watch_database(config):
        data_directory.prepare_data(config, may_write=not reads)
        opened = data_directory.open_store(config)
        try:
            yield opened
        except sa.exc.SQLAlchemyError as error:
            raise CommandError(f"the database says: {data_directory.describe_database_error(error)}") from None
        finally:
            opened.close()


def watch_database(config: "Config") -> contextlib.AbstractContextManager[None]:
    """Meanwhile a PostgreSQL that does not answer is named on standard error."""
    if not config.database.url.get_secret_value():  # of a file one waits five seconds at most
        return contextlib.nullcontext()
    from relay.store.database import answer_watch

    return answer_watch.watch_answers(_say_that_database_is_waited_for)


def _say_that_database_is_waited_for(for_s: float) -> None:
    sys.stderr.write(f"waypost: the database has not answered for {for_s:.0f} s; still waiting (Ctrl-C ends this)\n")
    sys.stderr.flush()


def write_audited(
    store: "Store",
    change: "AuditedChange",
    work: "Callable[[sa.Connection], T]",
    count: Callable[[T], int] | None = None,
    target: Callable[[T], str] | None = None,
    *,
    begins_commit: bool = False,
) -> T:
    """Runs the work with its entry in the audit log, and returns its result once both are durable. Raises what the work
    raises, and sqlalchemy.exc.SQLAlchemyError."""
    from functools import partial

    from relay.store.console import audit_log

    job = partial(
        audit_log.carry_out,
        actor=find_actor(),
        change=change,
        work=work,
        count=count or audit_log.count_of,
        target=target,
    )
    return store.writer.submit(job, begins_commit=begins_commit).result()


def add_audit_entry(config: "Config", change: "AuditedChange", changed_count: int = 1) -> None:
    """Adds an entry about a change that was made outside of the database, or in many commits. The change is made, so
    that a database which does not answer, or is locked for five seconds, is a warning."""

    def limit_wait(connection: "sa.Connection") -> int:
        if connection.dialect.name == "postgresql":  # SQLite has a limit of its own
            connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
        return changed_count

    try:
        with open_store(config) as store:
            write_audited(store, change, limit_wait)
    except OperatorError as error:
        sys.stderr.write(f"this is not in the audit log: {error}\n")


def find_actor() -> "Actor":
    """Who runs the command: the user of this machine, also behind sudo, and the machine's name."""
    from relay.store.console.audit_log import Actor, Door

    name = os.environ.get("SUDO_USER") or os.environ.get("LOGNAME") or ""
    if not name:
        try:
            name = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:  # a container's user may have no name
            name = str(os.getuid())
    return Actor(Door.COMMAND_LINE, name, socket.gethostname())


def ask_for_secret(prompt: str) -> str:
    """A line that the terminal does not show; without a terminal, a line of standard input."""
    return getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")


def parse_mailbox(text: str, *, needs_domain: bool = True) -> Mailbox:
    """The address that a user gave; `postmaster` has no domain. Raises CommandError."""
    mailbox = parse_reverse_path(text)
    if not (address.domain(mailbox) if needs_domain else mailbox):
        raise CommandError("an address is needed")
    return mailbox


def parse_reverse_path(text: str) -> Mailbox:
    """The same, or NULL for an empty text. Raises CommandError."""
    try:
        return address.parse_mailbox(text)
    except address.PathSyntaxError as error:
        raise CommandError(f"{error}: {text}") from None
