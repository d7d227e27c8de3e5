"""`waypost classify`: what a server's reply means for the address."""

import argparse
import sys

from relay.bounce import classify
from relay.bounce.classify import Phase
from relay.cli import command
from relay.cli.command import Commands

_ABOUT = """\
Prints one JSON object for each reply: its kind (hard, soft, none), category, the rule that decided, whether
the address is suppressed and whether the mail is tried again.

  waypost classify "550 5.1.1 user unknown"
  waypost classify --phase dot "554 5.7.1 blocked using zen.example.org"
  waypost classify --lines < replies.txt      one reply a line, a phase and a tab may stand before it"""


def add(commands: Commands) -> None:
    parser = commands.add_parser("classify", help="classify SMTP replies", description=_ABOUT)
    parser.add_argument("reply", nargs="?", metavar="REPLY")
    parser.add_argument("--phase", choices=[phase.value for phase in Phase], default=Phase.RCPT.value)
    parser.add_argument("--lines", action="store_true", help="read replies from standard input")
    parser.set_defaults(run=run, usage=parser.error)


def run(arguments: argparse.Namespace) -> int:
    if arguments.lines == (arguments.reply is not None):
        arguments.usage("give one REPLY, or --lines")
    lines = sys.stdin if arguments.lines else [arguments.reply]
    for line in lines:
        if line.strip():
            phase, reply = classify.parse_line(line.rstrip("\r\n"), Phase(arguments.phase))
            command.say_json(classify.as_json(classify.classify(reply, phase)))
    return 0
