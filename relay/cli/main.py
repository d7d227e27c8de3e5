"""The `waypost` command. In: arguments.  Out: the exit status (0 done, 1 failed with a reason, 2 wrong usage)."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from relay import __version__
from relay.cli import command
from relay.config import load
from relay.node import data_directory

# In the order of --help. A command is the module of its name, and only the one that is asked for is loaded.
_COMMANDS = (
    "serve",
    "check",
    "demo",
    "instrument",
    "classify",
    "messages",
    "events",
    "stats",
    "queue",
    "suppressions",
    "webhooks",
    "token",
    "keys",
    "pixel",
    "person",
    "user",
    "api-key",
)

_DESCRIPTION = """\
An SMTP relay proxy that instruments mail in transit. Point an app's SMTP host and port at it and change
nothing else: it adds an open pixel, click redirects and List-Unsubscribe, delivers through your own SMTP
server, and shows what became of every message."""

_EPILOG = """\
first steps:
  waypost serve                    start; with no [[upstream]] mail is kept in the console's mailbox
  waypost demo                     see it work, with sample mail
  waypost check                    is config.toml right?
  waypost instrument mail.eml --to ann@example.com    what would become of this mail?

Every command has its own --help."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command. Returns its exit status; argparse leaves with 2 by itself."""
    parser = argparse.ArgumentParser(
        prog="waypost", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"waypost {__version__}")
    parser.add_argument("--config", metavar="FILE", help="default: $WAYPOST_CONFIG, else ./config.toml")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    argv = sys.argv[1:] if argv is None else argv
    requested = next((word for word in argv if word in _COMMANDS), None)
    for name in [requested] if requested else _COMMANDS:
        importlib.import_module(f"relay.cli.{name.replace('-', '_')}").add_command(commands)
    _allow_config_after_command(commands)
    arguments = parser.parse_args(argv)
    run: command.Run = arguments.run
    try:
        return run(arguments)
    except load.ConfigError as error:
        sys.stderr.write("\n".join(error.faults) + "\n")
    except (command.CommandError, data_directory.StartupError) as error:
        sys.stderr.write(f"waypost: {error}\n")
    except BrokenPipeError:  # `waypost events | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return 1


def _allow_config_after_command(commands: command.Commands) -> None:
    """`--config` behind a command's name too, where it is usually typed, and descriptions kept as they are laid out."""
    for parser in commands.choices.values():
        parser.add_argument("--config", metavar="FILE", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                _allow_config_after_command(action)
