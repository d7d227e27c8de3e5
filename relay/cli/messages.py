"""`waypost messages`: what became of mail."""

import argparse

from relay.cli import command
from relay.cli.command import Commands
from relay.store.database.tables import Status
from relay.store.views import json_objects, message_detail, message_list

_DESCRIPTION = """\
The latest messages, newest first, one JSON object a line.

  waypost messages --query ann@example.com
  waypost messages --status bounced"""


def add_command(commands: Commands) -> None:
    parser = commands.add_parser("messages", help="list messages", description=_DESCRIPTION)
    parser.add_argument("--query", default="", help="part of a recipient, subject or Message-ID")
    statuses = [status.value for status in Status]
    parser.add_argument("--status", default="", choices=statuses, help="with a delivery of this status")
    parser.add_argument(
        "--limit", type=command.positive_count, default=50, metavar="N", help="the latest N (default: 50)"
    )
    parser.set_defaults(run=print_messages)


def print_messages(arguments: argparse.Namespace) -> int:
    with command.open_store(command.load_config(arguments)) as store, store.connect() as connection:
        page = message_list.list_messages(connection, arguments.limit, query=arguments.query, status=arguments.status)
        found = [message_detail.read_message(connection, line.id) for line in page.items]
    for one in found:
        if one is not None:
            command.print_json(json_objects.message_object(one))
    return 0
