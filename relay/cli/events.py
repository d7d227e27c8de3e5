"""`waypost events`: what happened, as it happens; and who it was, judged anew."""

import argparse
import sys
import time
from datetime import UTC, datetime, timedelta
from functools import partial

import sqlalchemy as sa

from relay import ids
from relay.cli import command, output
from relay.store.events import events_after, latest_events
from relay.store.tracking import reclassification
from relay.store.views import json_objects, statistics
from relay.store.views.statistics import Selection

_POLL_S = 0.5
_PROGRESS_EVERY_S = 5.0
_LOOK_BACK = timedelta(minutes=2)


def print_events(arguments: argparse.Namespace) -> int:
    with command.open_store(command.load_config(arguments)) as store:
        with store.connect() as connection:
            rows = list(reversed(latest_events(connection, arguments.limit)))
            seen = {row["id"] for row in _recent_events(connection)}
        for row in rows:
            output.print_json(json_objects.event_object(row))
        while arguments.follow:
            sys.stdout.flush()
            time.sleep(_POLL_S)
            with store.connect() as connection:
                rows = _recent_events(connection)
            for row in rows:
                if row["id"] not in seen:
                    output.print_json(json_objects.event_object(row))
            seen = {row["id"] for row in rows}
    return 0


def _recent_events(connection: sa.Connection) -> list[sa.RowMapping]:
    # An event's id is older than its commit by as long as its message took: look back that far.
    return list(events_after(connection, ids.lowest_at(datetime.now(UTC) - _LOOK_BACK), 100_000))


def reclassify_hits(arguments: argparse.Namespace) -> int:
    hits = changed = 0
    after: tuple[str, int] | None = None
    is_terminal, reported_s = sys.stderr.isatty(), time.monotonic()
    with command.open_store(command.load_config(arguments)) as store:
        with store.connect() as connection:
            counted = statistics.read_totals(connection, Selection(arguments.since))
        about = counted.opens.total + counted.clicks.total
        while True:
            with store.connect() as connection:
                step = reclassification.review_hits(connection, arguments.since, after)
            # A batch is a commit of its own: a server's writes go in between.
            for some in reclassification.batches(step.outdated):
                changed += store.writer.submit(
                    partial(reclassification.reclassify_deliveries, deliveries=some)
                ).result()
            hits, after = hits + step.hits, step.after
            if after is None:
                break
            if time.monotonic() - reported_s >= (_POLL_S if is_terminal else _PROGRESS_EVERY_S):
                reported_s = time.monotonic()
                line = f"{hits:,} of about {about:,} hits judged, {changed:,} changed"
                sys.stderr.write(f"\r{line}" if is_terminal else f"{line}\n")
                sys.stderr.flush()
    if is_terminal:
        sys.stderr.write("\r\033[K")
    output.print_json({"judged": hits, "changed": changed})
    return 0
