"""`waypost events`: lists and follows events."""

import argparse
import shutil
import sys
import time
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from relay.cli import command, output, tables
from relay.cli.tables import Column, JsonObject
from relay.event_type import EventType
from relay.store.views import event_list, json_objects
from relay.store.views.event_list import EventSearch

_POLL_S = 0.5
_LOOK_BACK = timedelta(minutes=2)
_PAGE = 1000  # events that are read together
_MAX_RECENT = 100_000


def print_events(arguments: argparse.Namespace) -> int:
    search = EventSearch(
        types=tuple(map(EventType, arguments.type)),
        message=arguments.message,
        recipient=arguments.recipient,
        verdict=arguments.verdict,
        stream=arguments.stream,
        tag=arguments.tag,
        since=arguments.since,
        until=arguments.until,
    )
    with command.open_store(command.load_config(arguments), reads=True) as store:
        with store.connect() as connection:
            rows = list(reversed(_latest_events(connection, search, arguments.limit)))
            seen = {row["id"] for row in _recent_events(connection, search)} if arguments.follow else set()
        events = [json_objects.event_object(row) for row in rows]
        if not arguments.follow:
            tables.print_list(arguments, events, _COLUMNS, empty_text="no event")
            return 0
        for one in events:
            _print_event(arguments, one)
        while True:
            sys.stdout.flush()
            time.sleep(_POLL_S)
            with store.connect() as connection:
                rows = _recent_events(connection, search)
            for row in rows:
                if row["id"] not in seen:
                    _print_event(arguments, json_objects.event_object(row))
            seen = {row["id"] for row in rows}


def _latest_events(connection: sa.Connection, search: EventSearch, limit: int) -> list[sa.RowMapping]:
    """The latest events, newest first. A page of a narrow search may be short although others follow."""
    rows: list[sa.RowMapping] = []
    cursor = ""
    while len(rows) < limit:
        page = event_list.list_events(connection, search, min(limit - len(rows), _PAGE), cursor)
        rows += page.rows
        cursor = page.next
        if not cursor:
            break
    return rows


def _recent_events(connection: sa.Connection, search: EventSearch) -> list[sa.RowMapping]:
    # An event's id is made before its commit: look back by the longest time between the two.
    since = datetime.now(UTC) - _LOOK_BACK
    recent = search._replace(since=max(since, search.since or since))
    return list(reversed(_latest_events(connection, recent, _MAX_RECENT)))


def _print_event(arguments: argparse.Namespace, event: JsonObject) -> None:
    """Prints one event. Its columns have fixed widths, because the next events are not known yet."""
    if not tables.is_table(arguments):
        output.print_json(event)
        return
    who, about = event["recipient"] or "", _describe_event(event)
    verdict = event["verdict"] or ""
    line = f"{tables.short_time(event['at'], seconds=True)}  {event['type']:<12}  {verdict:<8}  {who:<30}  {about}"
    output.print_line(tables.replace_control_characters(line).rstrip()[: shutil.get_terminal_size().columns])


def _describe_event(event: JsonObject) -> str:
    return event["url"] or event["detail"] or ", ".join(event["reasons"])


_COLUMNS = (
    Column("AT", lambda one: tables.short_time(one["at"], seconds=True)),
    Column("TYPE", lambda one: one["type"]),
    Column("BY", lambda one: one["verdict"]),
    Column("RECIPIENT", lambda one: one["recipient"], shrinks=True),
    Column("ABOUT", _describe_event, shrinks=True),
    Column("MESSAGE", lambda one: one["delivery"] or one["message"], is_wide=True),
)
