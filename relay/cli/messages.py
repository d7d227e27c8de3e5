"""`waypost messages`: what became of mail."""

import argparse
from datetime import UTC, datetime

from relay.cli import command, output
from relay.cli.command import CommandError
from relay.store.database.tables import Status
from relay.store.views import json_objects, message_detail, message_search, search_query
from relay.store.views.search_query import MessageSearch

_PAGE = 200  # messages that are read together


def print_messages(arguments: argparse.Namespace) -> int:
    try:
        search = search_query.parse_search(arguments.query, datetime.now(UTC))
    except search_query.SearchSyntaxError as error:
        raise CommandError(f"--query: {error}") from None
    if arguments.status:
        search = search.joined_with(MessageSearch(statuses=(Status(arguments.status),)))
    left, before = arguments.limit, ""
    with command.open_store(command.load_config(arguments)) as store, store.connect() as connection:
        while left:
            page = message_search.find_messages(connection, search, min(left, _PAGE), before)
            for one in message_detail.read_messages(connection, page.ids, recipients=search.recipients):
                output.print_json(json_objects.message_object(one))
            left, before = left - len(page.ids), page.next
            if not before:
                break
    return 0
