"""`waypost stats`: prints counts by verdict, and counts all events again."""

import argparse
import sys
import time
from datetime import UTC, datetime
from functools import partial
from operator import itemgetter

import sqlalchemy as sa

from relay.cli import command, output, tables
from relay.cli.tables import Column
from relay.store import roll_up_rebuild
from relay.store.console.audit_log import AuditedChange
from relay.store.database import errors
from relay.store.database.roll_ups import NOTICE_STREAM
from relay.store.roll_up_rebuild import RebuildStep
from relay.store.store import Store
from relay.store.views import statistics
from relay.store.views.statistics import CATEGORY, DOMAIN, Selection
from relay.store.views.statistics_objects import totals_object

_WAIT_S = 0.1  # for another process that changes the counts
_PROGRESS_EVERY_S = 2.0


def print_statistics(arguments: argparse.Namespace) -> int:
    start = arguments.since or datetime.now(UTC) - arguments.last
    selection = Selection(start, arguments.until, arguments.stream, arguments.tag, arguments.domain)
    if not statistics.is_counted(selection, arguments.by):
        raise command.CommandError("a domain is not counted together with a stream or a tag: ask for one of them")
    with command.open_store(command.load_config(arguments), reads=True) as store, store.connect() as connection:
        if arguments.by:
            groups = statistics.read_groups(connection, selection, arguments.by)
            # A message can have several recipients, so accepted messages are counted under no domain.
            has_accepted = arguments.by not in (DOMAIN, CATEGORY)
            items = [
                {"group": group} | totals_object(totals, has_accepted=has_accepted) for group, totals in groups.items()
            ]
            by = Column(arguments.by.upper(), lambda one: _group_text(one["group"], arguments.by))
            tables.print_list(arguments, items, [by, *_COLUMNS], empty_text="nothing happened")
            return 0
        found = statistics.read_totals(connection, selection)
        notices = statistics.read_totals(connection, Selection(start, arguments.until, NOTICE_STREAM))
        waiting = statistics.queue_depth(connection)
    tables.print_object(
        arguments,
        totals_object(found, has_accepted=arguments.domain is None)
        | {"notices": notices.accepted, "queued": waiting.queued, "waiting": waiting.queued + waiting.deferred},
    )
    return 0


def _group_text(group: object, by: str) -> str:
    if isinstance(group, datetime):
        return f"{group:%Y-%m-%d %H:%M}" if by == "hour" else f"{group:%Y-%m-%d}"
    return str(group) or "(none)"


_COLUMNS = (
    *(
        Column(name.upper(), itemgetter(name), is_number=True)
        for name in ("accepted", "delivered", "deferred", "bounced")
    ),
    Column("OPENED BY", lambda one: one["opens"]["unique"], is_number=True),
    Column("CLICKED BY", lambda one: one["clicks"]["unique"], is_number=True),
    Column("COMPLAINED", itemgetter("complained"), is_number=True, is_wide=True),
    Column("UNSUBSCRIBED", itemgetter("unsubscribed"), is_number=True, is_wide=True),
)


def rebuild_roll_ups(arguments: argparse.Namespace) -> int:
    after: datetime | None = None
    events, reported_s = 0, time.monotonic()
    config = command.load_config(arguments)
    with command.open_store(config) as store:
        while True:
            step = _rebuild_next_hours(store, after)
            if not step.is_done:
                time.sleep(_WAIT_S)
                continue
            events, after = events + step.events, step.until
            if after is None:
                break
            if time.monotonic() - reported_s >= _PROGRESS_EVERY_S:
                reported_s = time.monotonic()
                sys.stderr.write(f"{events:,} counted, up to {after:%Y-%m-%d %H:%M} UTC\n")
    command.add_audit_entry(config, AuditedChange("statistics.rebuild"), events)
    output.print_json({"counted": events})
    return 0


def _rebuild_next_hours(store: Store, after: datetime | None) -> RebuildStep:
    # Every few hours are a commit of their own, so that a running server can write in between.
    work = partial(roll_up_rebuild.rebuild_next_hours, after=after)
    try:
        return store.writer.submit(work, begins_commit=True).result()
    except sa.exc.DBAPIError as error:
        if not errors.is_conflict(error):
            raise
        return RebuildStep(0, after, is_done=False)  # another rebuild ended between our snapshot and our lock
