"""`waypost token read`: what a tracking URL carries."""

import argparse
import re

from relay import ids, tokens
from relay.cli import command
from relay.cli.command import Commands, Failed
from relay.edits import Kind
from relay.node import ground

_ABOUT = """\
Prints what tracking URLs carry, one JSON object each. No address stands in a token: the message's id and the
recipient's number in it lead to one only with this installation's database.

  waypost token read http://127.0.0.1:8080/c/AQF..."""


def add(commands: Commands) -> None:
    parser = commands.add_parser("token", help="read tracking URLs", description=_ABOUT)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    read = actions.add_parser("read", help="what a tracking URL carries")
    read.add_argument("url", nargs="+", metavar="URL")
    read.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    ring = ground.open_ring(command.configured(arguments))
    for url in arguments.url:
        found = re.search(r"(?:^|/)([ocu])/([A-Za-z0-9_-]+)(?:\.gif|\.png)?(?:[?#].*)?$", url)
        if not found:
            raise Failed(f"not a tracking URL: {url}")
        try:
            token = ring.read(Kind(found[1]), found[2])
        except tokens.BadToken as error:
            raise Failed(f"not a token of this installation ({error}): {url}") from None
        command.say_json(
            {
                "kind": token.kind.name.lower(),
                "message": token.message,
                "recipient": None if token.recipient in (tokens.EVERYBODY, tokens.PIXEL) else token.recipient,
                "link": token.link,
                "url": token.url.decode("ascii", "backslashreplace"),
                "minted": ids.time_of(token.message).isoformat(),
            }
        )
    return 0
