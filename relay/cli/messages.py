"""`waypost messages`: what became of mail."""

import argparse

from relay.cli import command
from relay.cli.command import Commands
from relay.store import reports

_ABOUT = """\
The latest messages, newest first, one JSON object a line.

  waypost messages --query ann@example.com
  waypost messages --status bounced"""


def add(commands: Commands) -> None:
    parser = commands.add_parser("messages", help="list messages", description=_ABOUT)
    parser.add_argument("--query", default="", help="part of a recipient, subject or Message-ID")
    parser.add_argument("--status", default="", help="with a delivery of this status")
    parser.add_argument("--limit", type=int, default=50)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    with command.store(command.configured(arguments)) as store, store.session() as session:
        page = reports.messages(session, arguments.limit, query=arguments.query, status=arguments.status)
    for line in page.items:
        row = line._asdict()
        command.say_json(row | {"opens": line.opens._asdict(), "clicks": line.clicks._asdict()})
    return 0
