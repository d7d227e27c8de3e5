"""`waypost events`: what happened, as it happens; and who it was, judged anew."""

import argparse
import sys
import time
from datetime import UTC, datetime, timedelta
from functools import partial

import sqlalchemy as sa

from relay import ids
from relay.cli import command
from relay.cli.command import Commands
from relay.config.values import read_duration
from relay.store.events import events_after, latest_events
from relay.store.tracking import verdicts
from relay.store.views import json_objects

_DESCRIPTION = """\
The latest events, oldest first, one JSON object a line: what was accepted, delivered, deferred, bounced, expired or
suppressed, and who opened, clicked or unsubscribed.

  waypost events --limit 500
  waypost events --follow | grep bounced      goes on until ^C
  waypost events reclassify --since 30d       judges opens and clicks by the rules of today"""

_RECLASSIFY_DESCRIPTION = """\
Judges past opens and clicks again by the rules of this version (relay/attribution/rules.toml), each together with all
hits of its delivery, and corrects the counters. The server may run meanwhile. A second run changes nothing.

  waypost events reclassify
  waypost events reclassify --since 30d"""

_POLL_S = 0.5
_LOOK_BACK = timedelta(minutes=2)


def add_command(commands: Commands) -> None:
    parser = commands.add_parser("events", help="list or follow events", description=_DESCRIPTION)
    parser.add_argument(
        "--limit", type=command.positive_count, default=50, metavar="N", help="the latest N (default: 50)"
    )
    parser.add_argument("--follow", action="store_true", help="go on as events happen")
    parser.set_defaults(run=print_events)
    actions = parser.add_subparsers(metavar="ACTION")
    anew = actions.add_parser(
        "reclassify", help="judge opens and clicks by the rules of today", description=_RECLASSIFY_DESCRIPTION
    )
    anew.add_argument("--since", type=read_duration, metavar="SPAN", help="hits of the last 24h, 30d (default: all)")
    anew.set_defaults(run=_reclassify_hits)


def print_events(arguments: argparse.Namespace) -> int:
    with command.open_store(command.load_config(arguments)) as store:
        with store.connect() as connection:
            rows = list(reversed(latest_events(connection, arguments.limit)))
            seen = {row["id"] for row in _recent_events(connection)}
        for row in rows:
            command.print_json(json_objects.event_object(row))
        while arguments.follow:
            sys.stdout.flush()
            time.sleep(_POLL_S)
            with store.connect() as connection:
                rows = _recent_events(connection)
            for row in rows:
                if row["id"] not in seen:
                    command.print_json(json_objects.event_object(row))
            seen = {row["id"] for row in rows}
    return 0


def _recent_events(connection: sa.Connection) -> list[sa.RowMapping]:
    # An event's id is older than its commit by as long as its message took: look back that far.
    return list(events_after(connection, ids.lowest_at(datetime.now(UTC) - _LOOK_BACK), 100_000))


def _reclassify_hits(arguments: argparse.Namespace) -> int:
    since = datetime.now(UTC) - arguments.since if arguments.since is not None else None
    hits = changed = 0
    with command.open_store(command.load_config(arguments)) as store:
        after: tuple[str, int] | None = None
        while True:
            # A batch is a commit of its own: a server's writes go in between.
            work = partial(verdicts.reclassify_hits, since=since, after=after)
            done = store.writer.submit(work).result()
            hits, changed, after = hits + done.hits, changed + done.changed, done.after
            if sys.stderr.isatty():
                sys.stderr.write(f"\r{hits:,} hits judged, {changed:,} changed")
            if after is None:
                break
    if sys.stderr.isatty():
        sys.stderr.write("\n")
    command.print_json({"judged": hits, "changed": changed})
    return 0
