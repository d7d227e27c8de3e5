"""`waypost serve`: the whole node, or one of its roles."""

import argparse

from relay import log
from relay.cli.command import Commands
from relay.config import load
from relay.node import server

_ABOUT = """\
Starts everything that config.toml describes and, when all listeners are up, prints one line:

  ready smtp=HOST:PORT[,...] tracking=URL console=URL

SIGTERM or ^C drains: transactions end, attempts finish, nothing is lost. A second one stops at once."""


def add_command(commands: Commands) -> None:
    parser = commands.add_parser("serve", help="start the relay, the tracking site and the console", description=_ABOUT)
    parser.add_argument("--only", choices=("smtp", "web"), help="start one role only")
    parser.add_argument(
        "--workers",
        type=int,
        choices=range(1, 65),
        metavar="N",
        help="mail processes, 1 to 64 (default: [relay] workers)",
    )
    parser.set_defaults(run=start_server)


def start_server(arguments: argparse.Namespace) -> int:
    path = load.find_file(arguments.config)
    config = load.load(path)
    if arguments.workers is not None:
        config = config.model_copy(update={"relay": config.relay.model_copy(update={"workers": arguments.workers})})
    log.start_logging()
    if path and (secrets := load.find_readable_secrets(path)):
        log.secrets_readable(str(path), ", ".join(secrets))
    return server.serve(config, arguments.only)
