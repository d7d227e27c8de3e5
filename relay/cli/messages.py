"""`waypost messages`: what became of mail."""

import argparse

from relay.cli import command, output
from relay.store.views import json_objects, message_detail, message_list


def print_messages(arguments: argparse.Namespace) -> int:
    with command.open_store(command.load_config(arguments)) as store, store.connect() as connection:
        page = message_list.list_messages(connection, arguments.limit, query=arguments.query, status=arguments.status)
        found = [message_detail.read_message(connection, line.id) for line in page.items]
    for one in found:
        if one is not None:
            output.print_json(json_objects.message_object(one))
    return 0
