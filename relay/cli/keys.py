"""`waypost keys`: the keys that sign tracking URLs."""

import argparse

from relay import tokens
from relay.cli import command
from relay.cli.command import Commands, Failed
from relay.node import ground

_ABOUT = """\
The newest key signs new mail; older keys go on reading the links of mail already sent, so never delete the
key file while people may still click. A running server takes a new key up within seconds."""


def add(commands: Commands) -> None:
    parser = commands.add_parser("keys", help="list or rotate the keys of tracking URLs", description=_ABOUT)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    actions.add_parser("list", help="their ids and ages").set_defaults(run=_list)
    actions.add_parser("rotate", help="make a new key that signs from now on").set_defaults(run=_rotate)


def _list(arguments: argparse.Namespace) -> int:
    ring = ground.open_ring(command.configured(arguments))
    for key in ring.keys:
        command.say(f"{key.id:>3}  {key.created:%Y-%m-%d %H:%M} UTC  {'signs' if key is ring.keys[-1] else 'reads'}")
    return 0


def _rotate(arguments: argparse.Namespace) -> int:
    config = command.configured(arguments)
    ground.open_ring(config)  # as whom it belongs to
    try:
        key = tokens.rotate(config.relay.data_dir / ground.KEYS_FILE)
    except (OSError, ValueError) as error:
        raise Failed(f"cannot rotate the keys: {error}") from None
    command.say(f"key {key.id} signs from now on; older keys still read")
    return 0
