"""`waypost suppressions`: whom not to write to."""

import argparse
from datetime import UTC, datetime

from relay import address
from relay.cli import command
from relay.cli.command import Commands, Failed
from relay.store import suppressions

_ABOUT = """\
Addresses that get no mail: of all kinds (hard bounces, complaints), or of one stream (unsubscribes).

  waypost suppressions list
  waypost suppressions add ann@example.com --stream newsletter
  waypost suppressions remove ann@example.com"""


def add(commands: Commands) -> None:
    parser = commands.add_parser("suppressions", help="list, add or remove suppressed addresses", description=_ABOUT)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="the entries, newest first, one JSON object a line")
    listing.add_argument("query", nargs="?", default="", help="part of an address")
    listing.add_argument("--limit", type=command.count, default=1000, metavar="N")
    listing.set_defaults(run=_list)
    adding = actions.add_parser("add", help="suppress an address")
    adding.add_argument("address")
    adding.add_argument("--stream", help="this stream only (default: all mail)")
    adding.set_defaults(run=_add)
    removing = actions.add_parser("remove", help="let mail flow again")
    removing.add_argument("address")
    removing.add_argument("--stream", help="this stream only (default: every entry)")
    removing.set_defaults(run=_remove)


def _list(arguments: argparse.Namespace) -> int:
    with command.store(command.configured(arguments)) as store, store.session() as session:
        for row in suppressions.listing(session, arguments.limit, arguments.query):
            command.say_json(
                {key: row[key] for key in ("address", "scope", "stream", "reason", "evidence", "created_at")}
            )
    return 0


def _add(arguments: argparse.Namespace) -> int:
    mailbox = _mailbox(arguments.address)
    with command.store(command.configured(arguments)) as store:
        added = store.writer.submit(
            lambda session: suppressions.add(
                session, mailbox, reason="manual", at=datetime.now(UTC), stream=arguments.stream
            )
        ).result()
    command.say("suppressed" if added else "was suppressed already")
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    mailbox = _mailbox(arguments.address)
    with command.store(command.configured(arguments)) as store:
        gone = store.writer.submit(
            lambda session: suppressions.remove(session, mailbox, stream=arguments.stream)
        ).result()
    if not gone:
        raise Failed(f"{mailbox} is not suppressed")
    command.say(f"removed {gone}")
    return 0


def _mailbox(text: str) -> str:
    try:
        mailbox = address.parse_path(f"<{text}>").mailbox
    except address.PathSyntaxError as error:
        raise Failed(f"{error}: {text}") from None
    if not mailbox:
        raise Failed("an address is needed")
    return mailbox
