"""`waypost suppressions`: addresses that get no mail."""

import argparse
import io
import itertools
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TextIO

from relay.cli import command, output, tables
from relay.cli.command import CommandError
from relay.cli.tables import Column
from relay.config import values
from relay.store.console.audit_log import AuditedChange
from relay.store.recipients import suppression_csv, suppressions
from relay.store.recipients.suppression_csv import ImportDefaults, InvalidRecord
from relay.store.recipients.suppressions import SuppressionFilter
from relay.store.views import json_objects

_RECORDS_PER_COMMIT = 2000  # records per commit
_MAX_REFUSALS_SHOWN = 100  # lines that are refused


def list_suppressions(arguments: argparse.Namespace) -> int:
    wanted = SuppressionFilter(
        address=arguments.recipient,
        stream=arguments.stream,
        reason=arguments.reason,
        since=arguments.since,
        until=arguments.until,
    )
    with command.open_store(command.load_config(arguments), reads=True) as store, store.connect() as connection:
        rows = suppressions.list_suppressions(
            connection, arguments.limit + 1, arguments.query or "", entry_filter=wanted
        )
    items = [json_objects.suppression_object(row) for row in rows[: arguments.limit]]
    tables.print_page(
        arguments, items, _COLUMNS, empty_text="nobody is suppressed", has_more=len(rows) > arguments.limit
    )
    return 0


_COLUMNS = (
    Column("ADDRESS", lambda one: one["address"], shrinks=True),
    Column("STREAM", lambda one: one["stream"] or "(all)"),
    Column("REASON", lambda one: one["reason"]),
    Column("SINCE", lambda one: tables.short_time(one["created_at"])),
    Column("UNTIL", lambda one: tables.short_time(one["expires_at"])),
    Column("BECAUSE", lambda one: one["evidence"], shrinks=True, is_wide=True),
)


def add_suppression(arguments: argparse.Namespace) -> int:
    mailbox = command.parse_mailbox(arguments.address, needs_domain=False)
    now = datetime.now(UTC)
    with command.open_store(command.load_config(arguments)) as store:
        added = command.write_audited(
            store,
            AuditedChange("suppression.add", _parse_stream(arguments.stream) or "", mailbox),
            lambda connection: suppressions.add_suppression(
                connection,
                mailbox,
                reason=arguments.reason,
                at=now,
                stream=_parse_stream(arguments.stream),
                evidence=arguments.evidence,
                expires_at=now + arguments.expires_in if arguments.expires_in else arguments.expires_at,
            ),
        )
    output.print_line("suppressed" if added else "was suppressed already")
    return 0


def remove_suppressions(arguments: argparse.Namespace) -> int:
    mailbox = command.parse_mailbox(arguments.address, needs_domain=False)
    with command.open_store(command.load_config(arguments)) as store:
        gone = command.write_audited(
            store,
            AuditedChange("suppression.remove", _parse_stream(arguments.stream) or "", mailbox),
            lambda connection: suppressions.remove_suppressions(
                connection, mailbox, stream=_parse_stream(arguments.stream)
            ),
        )
    if not gone:
        raise CommandError(f"{mailbox} is not suppressed")
    output.print_line(f"removed {gone}")
    return 0


def import_suppressions(arguments: argparse.Namespace) -> int:
    defaults = ImportDefaults(datetime.now(UTC), arguments.reason, _parse_stream(arguments.stream))
    added = known = refused = 0
    with command.open_store(command.load_config(arguments)) as store, output.show_progress("lines read") as progress:
        records = suppression_csv.read_csv(_read_lines(arguments.file), defaults)
        while chunk := list(itertools.islice(records, _RECORDS_PER_COMMIT)):
            entries = [one for one in chunk if not isinstance(one, InvalidRecord)]
            new = command.write_audited(
                store, AuditedChange("suppression.add_many"), partial(suppressions.add_suppressions, entries=entries)
            )
            for one in chunk:
                if isinstance(one, InvalidRecord):
                    refused += 1
                    if refused <= _MAX_REFUSALS_SHOWN:
                        sys.stderr.write(f"line {one.line}: {one.why}\n")
            added, known = added + new, known + len(entries) - new
            progress(added + known + refused, 0)
    if refused > _MAX_REFUSALS_SHOWN:
        sys.stderr.write(f"and {refused - _MAX_REFUSALS_SHOWN} more lines\n")
    output.print_line(f"added {added}, known {known}, refused {refused}")
    return 1 if refused else 0


def _read_lines(name: str) -> Iterator[str]:
    """The file's lines; octets that are not UTF-8 become U+FFFD. UTF-16, as Excel writes it, is recognized by its byte
    order mark. Raises CommandError."""
    try:
        with Path("/dev/stdin" if name == "-" else name).open("rb") as file:
            encoding = "utf-16" if file.peek(2)[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
            yield from io.TextIOWrapper(file, encoding, "replace")
    except OSError as error:
        raise CommandError(f"{name}: {error.strerror}") from None


def export_suppressions(arguments: argparse.Namespace) -> int:
    now = datetime.now(UTC)
    with (
        command.open_store(command.load_config(arguments)) as store,
        store.connect() as connection,
        output.show_progress("entries written") as progress,
        ExitStack() as opened,
    ):
        out: TextIO = sys.stdout
        if arguments.file:
            try:
                # Other users of the machine must not see who unsubscribed.
                out = opened.enter_context(open(arguments.file, "w", encoding="utf-8", opener=_open_private))
            except OSError as error:
                raise CommandError(f"{arguments.file}: {error.strerror}") from None
        out.write(suppression_csv.write_csv([], header=True))
        page, last = suppressions.list_entries(connection, now, 0, _RECORDS_PER_COMMIT)
        count = 0
        while page:
            count += len(page)
            progress(count, 0)
            out.write(suppression_csv.write_csv(page, header=False))
            page, last = suppressions.list_entries(connection, now, last, _RECORDS_PER_COMMIT)
    return 0


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _parse_stream(name: str | None) -> str | None:
    return None if name is None else values.read_stream(name)
