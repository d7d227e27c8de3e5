"""`waypost completion`: what a shell needs to complete commands and options."""

import argparse

import shtab

from relay.cli import command_table, output
from relay.cli.arguments.parser import Parser


def print_completion(arguments: argparse.Namespace) -> int:
    parser = command_table.make_parser()
    _complete_files(parser)
    output.print_line(shtab.complete(parser, arguments.shell).rstrip("\n"))
    return 0


def _complete_files(parser: Parser) -> None:
    """True for arguments named FILE, which are completed with names of files."""
    for action in parser._actions:
        if action.metavar == "FILE":
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # where shtab looks
        if isinstance(action, argparse._SubParsersAction):
            for one in set(action.choices.values()):
                _complete_files(one)
