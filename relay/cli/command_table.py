"""The commands: their names in the order of `waypost --help`, what each is for, and its arguments."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from relay import __version__
from relay.cli.arguments import history, installation, mail, recipients, serving
from relay.cli.arguments.parser import Parser

_DESCRIPTION = """\
An SMTP relay proxy that instruments mail in transit. Point an app's SMTP host and port at it and change nothing else:
it adds an open pixel, click redirects and List-Unsubscribe, delivers through your own SMTP server, and shows what
became of every message.
"""

_EPILOG = """\
first steps:
  waypost serve         start; with no [[upstream]] mail is kept in the console
  waypost demo          see it work, with sample mail
  waypost check         is config.toml right?
  waypost instrument mail.eml --to ann@example.com
                        what would become of this mail?

Every command has its own --help."""


class _Command(NamedTuple):
    help: str
    fill: Callable[[Parser], None]


COMMANDS = {
    "serve": _Command("start the relay, the tracking site and the console", serving.add_serve),
    "check": _Command("check the configuration", serving.add_check),
    "doctor": _Command("look at all that mail depends on, and say what to do", serving.add_doctor),
    "config": _Command("print the commented configuration, to begin with", serving.add_config),
    "demo": _Command("see all of it at work, with sample mail", serving.add_demo),
    "instrument": _Command("show what would become of a mail", mail.add_instrument),
    "classify": _Command("classify SMTP replies and bounce mails", mail.add_classify),
    "messages": _Command("list messages", history.add_messages),
    "events": _Command("list or follow events", history.add_events),
    "stats": _Command("count what happened", history.add_stats),
    "queue": _Command("list, show, retry, hold or drop mail that waits", history.add_queue),
    "suppressions": _Command("list, add, remove, import or export suppressed addresses", recipients.add_suppressions),
    "webhooks": _Command("list, add, test, replay … webhooks, which events are sent to", recipients.add_webhooks),
    "token": _Command("read tracking URLs", mail.add_token),
    "keys": _Command("list, rotate, revoke, export or import the keys of tracking URLs", installation.add_keys),
    "pixel": _Command("make, list, show or remove stand-alone pixels", recipients.add_pixel),
    "person": _Command("export or erase all about one address", recipients.add_person),
    "user": _Command("add, list or remove accounts, and say what they may do", installation.add_user),
    "api-key": _Command("make, list or revoke keys of the JSON API", installation.add_api_key),
    "refusals": _Command("list what clients were refused", history.add_refusals),
    "audit": _Command("list who changed what", history.add_audit),
    "alerts": _Command("send a test alert", installation.add_alerts),
    "backup": _Command("write the installation into one file, while it runs", installation.add_backup),
    "restore": _Command("bring an installation back from a backup", installation.add_restore),
    "completion": _Command("print a script by which a shell completes commands and options", serving.add_completion),
}


def make_parser(words: Sequence[str] = ()) -> Parser:
    """The parser for these arguments. It has only the command that they begin with, else all commands."""
    parser = Parser(prog="waypost", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("--version", action="version", version=f"waypost {__version__}")
    parser.set_defaults(config=None)
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in words[:1] if words and words[0] in COMMANDS else COMMANDS:
        COMMANDS[name].fill(actions.add_parser(name, help=COMMANDS[name].help))
    return parser
