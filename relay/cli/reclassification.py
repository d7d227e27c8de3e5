"""`waypost events reclassify`: judges past hits again. Apart from the lists, which do not load the rules."""

import argparse
import sys
import time
from functools import partial

from relay.cli import command, output
from relay.store.console.audit_log import AuditedChange
from relay.store.tracking import reclassification
from relay.store.views import statistics
from relay.store.views.statistics import Selection

_TERMINAL_EVERY_S = 0.5
_PROGRESS_EVERY_S = 5.0


def reclassify_hits(arguments: argparse.Namespace) -> int:
    hits = changed = 0
    after: tuple[str, int] | None = None
    is_terminal, reported_s = sys.stderr.isatty(), time.monotonic()
    config = command.load_config(arguments)
    with command.open_store(config) as store:
        with store.connect() as connection:
            counted = statistics.read_totals(connection, Selection(arguments.since))
        about = counted.opens.total + counted.clicks.total
        while True:
            with store.connect() as connection:
                step = reclassification.review_hits(connection, arguments.since, after)
            # Each batch is a commit of its own, so that a running server can write in between.
            for some in reclassification.split_into_batches(step.outdated_hits):
                changed += store.writer.submit(
                    partial(reclassification.reclassify_deliveries, deliveries=some)
                ).result()
            hits, after = hits + step.hits, step.after
            if after is None:
                break
            if time.monotonic() - reported_s >= (_TERMINAL_EVERY_S if is_terminal else _PROGRESS_EVERY_S):
                reported_s = time.monotonic()
                line = f"{hits:,} of about {about:,} hits judged, {changed:,} changed"
                sys.stderr.write(f"\r{line}" if is_terminal else f"{line}\n")
                sys.stderr.flush()
    command.add_audit_entry(config, AuditedChange("event.reclassify"), changed)
    if is_terminal:
        sys.stderr.write("\r\033[K")
    output.print_json({"judged": hits, "changed": changed})
    return 0
