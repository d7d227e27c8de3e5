"""`waypost events`: what happened, as it happens."""

import argparse
import sys
import time
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from relay import ids
from relay.cli import command
from relay.cli.command import Commands
from relay.store import events, objects

_ABOUT = """\
The latest events, oldest first, one JSON object a line: what was accepted, delivered, deferred, bounced, expired or
suppressed, and who opened, clicked or unsubscribed.

  waypost events --limit 500
  waypost events --follow | grep bounced      goes on until ^C"""

_POLL_S = 0.5
_LOOK_BACK = timedelta(minutes=2)


def add(commands: Commands) -> None:
    parser = commands.add_parser("events", help="list or follow events", description=_ABOUT)
    parser.add_argument("--limit", type=command.count, default=50, metavar="N", help="the latest N (default: 50)")
    parser.add_argument("--follow", action="store_true", help="go on as events happen")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    with command.store(command.configured(arguments)) as store:
        with store.session() as session:
            rows = list(reversed(events.latest(session, arguments.limit)))
            seen = {row["id"] for row in _recent(session)}
        for row in rows:
            command.say_json(objects.event(row))
        while arguments.follow:
            sys.stdout.flush()
            time.sleep(_POLL_S)
            with store.session() as session:
                rows = _recent(session)
            for row in rows:
                if row["id"] not in seen:
                    command.say_json(objects.event(row))
            seen = {row["id"] for row in rows}
    return 0


def _recent(session: sa.Connection) -> list[sa.RowMapping]:
    # An event's id is older than its commit by as long as its message took: look back that far.
    return list(events.since(session, ids.first(datetime.now(UTC) - _LOOK_BACK), 100_000))
