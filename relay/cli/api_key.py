"""`waypost api-key`: the keys of the JSON API."""

import argparse
from datetime import UTC, datetime

from relay.cli import command
from relay.cli.command import Commands, Failed
from relay.store import accounts

_ABOUT = """\
Programs that use the API say "Authorization: Bearer KEY". A key is shown once, when it is made, and kept as a hash;
a revoked one ends at once.

  waypost api-key create shop
  curl -H "Authorization: Bearer wp_..." http://127.0.0.1:8081/api/v1/pixels"""


def add(commands: Commands) -> None:
    parser = commands.add_parser("api-key", help="make, list or revoke keys of the JSON API", description=_ABOUT)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    creating = actions.add_parser("create", help="make a key and print it, this once")
    creating.add_argument("name", help="who will use it")
    creating.set_defaults(run=_create)
    actions.add_parser("list", help="their names and ages").set_defaults(run=_list)
    revoking = actions.add_parser("revoke", help="end a key at once")
    revoking.add_argument("name")
    revoking.set_defaults(run=_revoke)


def _create(arguments: argparse.Namespace) -> int:
    with command.store(command.configured(arguments)) as store:
        key = store.writer.submit(lambda session: accounts.new_key(session, arguments.name, datetime.now(UTC))).result()
    if key is None:
        raise Failed(f"there is a key named {arguments.name}; revoke it first, or choose another name")
    command.say(key)
    return 0


def _list(arguments: argparse.Namespace) -> int:
    with command.store(command.configured(arguments)) as store, store.session() as session:
        for row in accounts.keys(session):
            command.say_json(dict(row))
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    with command.store(command.configured(arguments)) as store:
        is_gone = store.writer.submit(lambda session: accounts.revoke_key(session, arguments.name)).result()
    if not is_gone:
        raise Failed(f"there is no key named {arguments.name}")
    command.say(f"{arguments.name} is revoked")
    return 0
