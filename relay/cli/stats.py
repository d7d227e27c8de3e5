"""`waypost stats`: the numbers, people apart from machines."""

import argparse
from datetime import UTC, datetime

from relay.cli import command
from relay.cli.command import Commands
from relay.config.values import read_duration
from relay.store.views import statistics

_DESCRIPTION = """\
What happened in a span of time, as one JSON object. Opens and clicks are counted by verdict: human, proxied (a
person, behind a mail provider's image proxy), machine (prefetch, scanner, preview) and unknown.

  waypost stats --last 7d"""


def add_command(commands: Commands) -> None:
    parser = commands.add_parser("stats", help="the numbers", description=_DESCRIPTION)
    parser.add_argument("--last", default="1d", type=read_duration, metavar="SPAN", help="24h, 7d, 400d (default: 1d)")
    parser.set_defaults(run=print_statistics)


def print_statistics(arguments: argparse.Namespace) -> int:
    with command.open_store(command.load_config(arguments)) as store, store.connect() as connection:
        found = statistics.totals_since(connection, datetime.now(UTC) - arguments.last)
        waiting = statistics.queue_depth(connection)
    command.print_json(
        found._asdict()
        | {"opens": found.opens._asdict(), "clicks": found.clicks._asdict()}
        | {"queued": waiting.queued, "waiting": waiting.queued + waiting.deferred}
    )
    return 0
