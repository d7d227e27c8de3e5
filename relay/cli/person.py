"""`waypost person`: everything about one address, told or erased."""

import argparse
import asyncio
import sys
import time
from datetime import UTC, datetime

from relay.address import Mailbox
from relay.cli import command
from relay.cli.command import CommandError, Commands
from relay.store.store import Store
from relay.store.views import personal_data
from relay.store.views.personal_data import ErasedCounts

_DESCRIPTION = """\
What this installation knows about an address as a recipient of mail: messages, deliveries, attempts, events with IP
and user agent, suppressions, consent. In pseudonymous mode it is found by the address's pseudonym.

  waypost person export ann@example.com > ann.json
  waypost person erase ann@example.com

erase removes the address from all of it, with the IP and user agent of its events, replies that quote it, and the
subject, metadata and content of the mail. Mail that still waits is given up. Counters and totals stay, because they
name nobody. A suppression stays as a pseudonym, which can be found from the address with this installation's key only:
people who unsubscribed get no mail again, and a "no" to tracking stays in force. --no-keep-suppression erases those
as well."""

_JOURNAL_TIMEOUT_S = 15.0


def add_command(commands: Commands) -> None:
    parser = commands.add_parser("person", help="export or erase all about one address", description=_DESCRIPTION)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    exporting = actions.add_parser("export", help="everything, as one JSON object")
    exporting.add_argument("address")
    exporting.add_argument("--content", action="store_true", help="with the mail itself, in base64")
    exporting.set_defaults(run=_export_person)
    erasing = actions.add_parser("erase", help="remove the address from everything")
    erasing.add_argument("address")
    erasing.add_argument("--yes", action="store_true", help="do not ask")
    erasing.add_argument(
        "--keep-suppression",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep suppressions and a no to tracking, as pseudonyms (the default)",
    )
    erasing.set_defaults(run=_erase_person)


def _export_person(arguments: argparse.Namespace) -> int:
    mailbox = command.parse_mailbox(arguments.address)
    with command.open_store(command.load_config(arguments)) as store, store.connect() as connection:
        command.print_json(personal_data.export_address(connection, mailbox, with_content=arguments.content))
    return 0


def _erase_person(arguments: argparse.Namespace) -> int:
    mailbox = command.parse_mailbox(arguments.address)
    if not arguments.yes:
        if not sys.stdin.isatty():
            raise CommandError("this cannot be undone; say --yes")
        if input(f"This cannot be undone. Type the address to erase {mailbox}: ").strip() != arguments.address:
            raise CommandError("not the same address; nothing was erased")
    end = time.monotonic() + _JOURNAL_TIMEOUT_S
    done, lines = ErasedCounts(), 0
    with command.open_store(command.load_config(arguments)) as store:
        while True:
            _wait_for_journal(store, end)
            done += _erase_rows(store, mailbox, keep=arguments.keep_suppression)
            lines += store.journal.remove_lines_with(mailbox)
            # A server may have written to a file of its own meanwhile: what is in there comes into the database.
            if not store.journal.mentions(mailbox):
                break
            if time.monotonic() > end:
                raise CommandError("a running server's journal still names the address; run it again in a minute")
            time.sleep(0.5)
        store.checkpoint()
    command.print_json({"address": mailbox} | done._asdict() | {"journal_lines": lines})
    return 0


def _erase_rows(store: Store, mailbox: Mailbox, *, keep: bool) -> ErasedCounts:
    now = datetime.now(UTC)
    with store.connect() as connection:
        if count := personal_data.count_under_way(connection, mailbox, now):
            raise CommandError(f"{count} deliveries to it are under way; nothing was erased, try again in a minute")
    done = ErasedCounts()
    while (
        step := store.writer.submit(
            lambda connection: personal_data.erase_deliveries(connection, mailbox, now)
        ).result()
    ).deliveries:
        done += step
    standing = store.writer.submit(
        lambda connection: personal_data.erase_address_records(connection, mailbox, keep_suppressions=keep)
    )
    return done + standing.result()


def _wait_for_journal(store: Store, end: float) -> None:
    """Waits until the journal is in the database, or until then: what it holds would come back."""
    while store.journal.has_pending:
        asyncio.run(store.replay_journal())
        if not store.journal.has_pending or time.monotonic() > end:
            break
        time.sleep(0.5)
