"""`waypost stats`: the numbers, people apart from machines."""

import argparse
from datetime import UTC, datetime

from relay.cli import command, output
from relay.store.views import statistics


def print_statistics(arguments: argparse.Namespace) -> int:
    with command.open_store(command.load_config(arguments)) as store, store.connect() as connection:
        found = statistics.totals_since(connection, datetime.now(UTC) - arguments.last)
        waiting = statistics.queue_depth(connection)
    output.print_json(
        found._asdict()
        | {"opens": found.opens._asdict(), "clicks": found.clicks._asdict()}
        | {"queued": waiting.queued, "waiting": waiting.queued + waiting.deferred}
    )
    return 0
