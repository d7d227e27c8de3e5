"""`waypost person`: exports or erases everything about one address."""

import argparse
import asyncio
import sys
import time
from datetime import UTC, datetime

from relay.address import Mailbox
from relay.cli import command, output
from relay.cli.command import CommandError
from relay.store.console.audit_log import AuditedChange
from relay.store.store import Store
from relay.store.views import personal_data
from relay.store.views.personal_data import ErasedCounts

_JOURNAL_TIMEOUT_S = 15.0


def export_person(arguments: argparse.Namespace) -> int:
    mailbox = command.parse_mailbox(arguments.address)
    with command.open_store(command.load_config(arguments), reads=True) as store, store.connect() as connection:
        output.print_json(personal_data.export_address(connection, mailbox, with_content=arguments.content))
    return 0


def erase_person(arguments: argparse.Namespace) -> int:
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
            # A running server may have written to its own journal meanwhile, which is replayed into the database.
            if not store.journal.mentions(mailbox):
                break
            if time.monotonic() > end:
                raise CommandError("a running server's journal still names the address; run it again in a minute")
            time.sleep(0.5)
        store.checkpoint()
    output.print_json({"address": mailbox} | done._asdict() | {"journal_lines": lines})
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
    # Its entry does not name the address.
    return done + command.write_audited(
        store,
        AuditedChange("person.erase"),
        lambda connection: personal_data.erase_address_records(connection, mailbox, keep_suppressions=keep),
    )


def _wait_for_journal(store: Store, end: float) -> None:
    """Waits until the journal is replayed, or until `end`: its facts would bring the address back."""
    while store.journal.has_pending:
        asyncio.run(store.replay_journal())
        if not store.journal.has_pending or time.monotonic() > end:
            break
        time.sleep(0.5)
