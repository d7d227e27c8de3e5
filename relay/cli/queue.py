"""`waypost queue`: mail that still waits."""

import argparse
from datetime import UTC, datetime

from relay.cli import command
from relay.cli.command import Commands, Failed
from relay.store import queue

_ABOUT = """\
Deliveries that wait for another attempt.

  waypost queue list
  waypost queue retry 06gvq2rnm5t2k7i09b50
  waypost queue retry --all"""


def add(commands: Commands) -> None:
    parser = commands.add_parser("queue", help="list or retry mail that waits", description=_ABOUT)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="the next due first, one JSON object a line")
    listing.add_argument("--limit", type=command.count, default=1000, metavar="N")
    listing.set_defaults(run=_list)
    retrying = actions.add_parser("retry", help="make mail due now")
    retrying.add_argument("id", nargs="?", metavar="ID", help="a message's id")
    retrying.add_argument("--all", action="store_true")
    retrying.set_defaults(run=_retry, usage=retrying.error)


def _list(arguments: argparse.Namespace) -> int:
    with command.store(command.configured(arguments)) as store, store.session() as session:
        for row in queue.open_deliveries(session, arguments.limit):
            command.say_json(
                {
                    key: row[key]
                    for key in (
                        "message",
                        "number",
                        "recipient",
                        "status",
                        "category",
                        "attempts",
                        "next_attempt_at",
                        "subject",
                    )
                }
            )
    return 0


def _retry(arguments: argparse.Namespace) -> int:
    if bool(arguments.id) == arguments.all:
        arguments.usage("give an ID, or --all")
    with command.store(command.configured(arguments)) as store:
        due = store.writer.submit(lambda session: queue.retry(session, datetime.now(UTC), arguments.id)).result()
    if arguments.id and not due:
        raise Failed(f"nothing of {arguments.id} waits")
    command.say(f"{due} due now")
    return 0
