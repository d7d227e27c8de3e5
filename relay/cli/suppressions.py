"""`waypost suppressions`: whom not to write to."""

import argparse
import io
import itertools
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TextIO

from relay import address
from relay.cli import command
from relay.cli.command import Commands, Failed
from relay.config import values
from relay.store.recipients import suppression_csv, suppressions
from relay.store.recipients.suppression_csv import ImportDefaults, InvalidRecord

_CHUNK = 2000  # records a commit
_MOST_SHOWN = 100  # lines that are refused
_SHOWN = ("address", "scope", "stream", "reason", "evidence", "message", "created_at", "expires_at")

_ABOUT = """\
Addresses that get no mail: of all kinds (hard bounces, complaints), or of one stream (unsubscribes).

  waypost suppressions list
  waypost suppressions add ann@example.com --stream newsletter --expires-in 30d
  waypost suppressions remove ann@example.com
  waypost suppressions export suppressed.csv
  waypost suppressions import suppressed.csv"""

_IMPORT = """\
Reads CSV, from a file or standard input (-), and adds what is new:

  address,scope,stream,reason,evidence,created_at,expires_at

Only the address is needed. A bare list of addresses works too, and so do the exports of SendGrid, Mailgun, Postmark,
SES and SparkPost, also as Excel saves them (semicolons, tabs, a first line such as sep=;). scope is all or stream;
reason is hard_bounce, complaint, unsubscribe or manual. An entry that exists already stays as it is, unless it would
end sooner. Lines that cannot be read are named on standard error, and all others are imported. Exit status 1 if any
line was refused.

export puts a ' before a cell that a spreadsheet would run as a formula (= + - @); import takes it off."""


def add(commands: Commands) -> None:
    parser = commands.add_parser(
        "suppressions", help="list, add, remove, import or export suppressed addresses", description=_ABOUT
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="the entries, newest first, one JSON object a line")
    listing.add_argument("query", nargs="?", default="", help="part of an address")
    listing.add_argument("--limit", type=command.count, default=1000, metavar="N")
    listing.set_defaults(run=_list)
    adding = actions.add_parser("add", help="suppress an address")
    adding.add_argument("address")
    adding.add_argument("--stream", help="this stream only (default: all mail)")
    adding.add_argument("--reason", choices=suppressions.REASONS, default=suppressions.MANUAL)
    adding.add_argument("--evidence", default="", metavar="TEXT", help="why, to read later")
    adding.add_argument("--expires-in", type=_duration, metavar="TIME", help="30d, 12h … (default: never)")
    adding.set_defaults(run=_add)
    removing = actions.add_parser("remove", help="send mail to an address again")
    removing.add_argument("address")
    removing.add_argument("--stream", help="this stream only (default: every entry)")
    removing.set_defaults(run=_remove)
    importing = actions.add_parser("import", help="add the entries of a CSV file", description=_IMPORT)
    importing.add_argument("file", metavar="FILE", help="- is standard input")
    importing.add_argument("--stream", help="for lines that name neither scope nor stream: this stream only")
    importing.add_argument(
        "--reason", choices=suppressions.REASONS, default=suppressions.MANUAL, help="for lines without a reason"
    )
    importing.set_defaults(run=_import)
    exporting = actions.add_parser("export", help="all entries that are in force, as CSV")
    exporting.add_argument("file", nargs="?", metavar="FILE", help="default: standard output")
    exporting.set_defaults(run=_export)


def _list(arguments: argparse.Namespace) -> int:
    with command.store(command.configured(arguments)) as store, store.connect() as connection:
        for row in suppressions.list_suppressions(connection, arguments.limit, arguments.query):
            command.say_json({key: row[key] for key in _SHOWN})
    return 0


def _add(arguments: argparse.Namespace) -> int:
    mailbox = _mailbox(arguments.address)
    now = datetime.now(UTC)
    with command.store(command.configured(arguments)) as store:
        added = store.writer.submit(
            lambda connection: suppressions.add_suppression(
                connection,
                mailbox,
                reason=arguments.reason,
                at=now,
                stream=_stream(arguments.stream),
                evidence=arguments.evidence,
                expires_at=now + arguments.expires_in if arguments.expires_in else None,
            )
        ).result()
    command.say("suppressed" if added else "was suppressed already")
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    mailbox = _mailbox(arguments.address)
    with command.store(command.configured(arguments)) as store:
        gone = store.writer.submit(
            lambda connection: suppressions.remove_suppressions(connection, mailbox, stream=_stream(arguments.stream))
        ).result()
    if not gone:
        raise Failed(f"{mailbox} is not suppressed")
    command.say(f"removed {gone}")
    return 0


def _import(arguments: argparse.Namespace) -> int:
    defaults = ImportDefaults(datetime.now(UTC), arguments.reason, _stream(arguments.stream))
    added = known = refused = 0
    with command.store(command.configured(arguments)) as store:
        records = suppression_csv.read_csv(_lines(arguments.file), defaults)
        while chunk := list(itertools.islice(records, _CHUNK)):
            entries = [one for one in chunk if not isinstance(one, InvalidRecord)]
            new = store.writer.submit(partial(suppressions.add_suppressions, entries=entries)).result()
            for one in chunk:
                if isinstance(one, InvalidRecord):
                    refused += 1
                    if refused <= _MOST_SHOWN:
                        sys.stderr.write(f"line {one.line}: {one.why}\n")
            added, known = added + new, known + len(entries) - new
            if sys.stderr.isatty():
                sys.stderr.write(f"\r{added + known + refused} read ")
    if refused > _MOST_SHOWN:
        sys.stderr.write(f"and {refused - _MOST_SHOWN} more lines\n")
    command.say(f"added {added}, known {known}, refused {refused}")
    return 1 if refused else 0


def _lines(name: str) -> Iterator[str]:
    """The file's lines; octets that are not UTF-8 become U+FFFD. Excel's UTF-16 is known by its mark. Raises Failed."""
    try:
        with Path("/dev/stdin" if name == "-" else name).open("rb") as file:
            encoding = "utf-16" if file.peek(2)[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
            yield from io.TextIOWrapper(file, encoding, "replace")
    except OSError as error:
        raise Failed(f"{name}: {error.strerror}") from None


def _export(arguments: argparse.Namespace) -> int:
    now = datetime.now(UTC)
    with command.store(command.configured(arguments)) as store, store.connect() as connection, ExitStack() as opened:
        out: TextIO = sys.stdout
        if arguments.file:
            try:
                # Whoever unsubscribed is nobody else's business.
                out = opened.enter_context(open(arguments.file, "w", encoding="utf-8", opener=_private))
            except OSError as error:
                raise Failed(f"{arguments.file}: {error.strerror}") from None
        out.write(suppression_csv.write_csv([], header=True))
        page, last = suppressions.list_entries(connection, now, 0, _CHUNK)
        while page:
            out.write(suppression_csv.write_csv(page, header=False))
            page, last = suppressions.list_entries(connection, now, last, _CHUNK)
    return 0


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _mailbox(text: str) -> str:
    try:
        mailbox = address.parse_path(f"<{text}>").mailbox
    except address.PathSyntaxError as error:
        raise Failed(f"{error}: {text}") from None
    if not mailbox:
        raise Failed("an address is needed")
    return mailbox


def _stream(name: str | None) -> str | None:
    return None if name is None else values.read_stream(name)


def _duration(text: str) -> timedelta:
    try:
        return values.read_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
