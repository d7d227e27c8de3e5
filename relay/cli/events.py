"""`waypost events`: what happened, as it happens."""

import argparse
import time

from relay.cli import command
from relay.cli.command import Commands
from relay.store import events

_ABOUT = """\
The latest events, oldest first, one JSON object a line: what was accepted, delivered, deferred, bounced, expired or
suppressed, and who opened, clicked or unsubscribed.

  waypost events --limit 500
  waypost events --follow | grep bounced      goes on until ^C"""

_POLL_S = 0.5


def add(commands: Commands) -> None:
    parser = commands.add_parser("events", help="list or follow events", description=_ABOUT)
    parser.add_argument("--limit", type=int, default=50, metavar="N", help="the latest N (default: 50)")
    parser.add_argument("--follow", action="store_true", help="go on as events happen")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    with command.store(command.configured(arguments)) as store:
        with store.session() as session:
            rows = list(reversed(events.latest(session, arguments.limit)))
        last = ""
        while True:
            for row in rows:
                command.say_json(dict(row))
                last = row["id"]
            if not arguments.follow:
                return 0
            time.sleep(_POLL_S)
            with store.session() as session:
                rows = list(events.since(session, last, 1000))
