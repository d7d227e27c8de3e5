"""Reads a command's arguments, suggests corrections, and prints a help that fits the terminal.

In: arguments.  Out: a namespace, whose `run` names the function that does it (`queue.list_deliveries`, of a module of
`relay.cli`, which is loaded only when the command runs); or exit status 2 with a
usage.
"""

import argparse
import difflib
import shutil
import textwrap
from collections.abc import Iterable
from typing import Any

_MAX_WIDTH = 100  # longer lines are hard to read
_CONFIG_HELP = "default: $WAYPOST_CONFIG, ./config.toml or /etc/waypost/config.toml"


class HelpFormatter(argparse.HelpFormatter):
    """Wraps prose at the terminal's width, and leaves lines that are indented, such as examples, as they are."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=min(shutil.get_terminal_size().columns - 2, _MAX_WIDTH))

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n\n".join(
            paragraph if "\n  " in f"\n{paragraph}" else textwrap.fill(paragraph, width, break_on_hyphens=False)
            for paragraph in text.strip("\n").split("\n\n")
        )


class Parser(argparse.ArgumentParser):
    """A command's parser. Every command takes --config, before its name and after it."""

    def __init__(self, *args: Any, **more: Any) -> None:  # Any: as argparse has them
        super().__init__(*args, **{"formatter_class": HelpFormatter} | more)
        # With a default, the option after the command's name would override the one before it.
        self.add_argument("-c", "--config", metavar="FILE", default=argparse.SUPPRESS, help=_CONFIG_HELP)

    def add_actions(self, *, required: bool = True) -> "Actions":
        """Adds actions, each of which has a name."""
        return Actions(self.add_subparsers(title="actions", metavar="ACTION", required=required))

    def describe(self, text: str, *examples: str) -> None:
        """Sets the description above the options, and shell lines as examples below them."""
        self.description = text
        self.epilog = "\n".join(["examples:", *(f"  {line}" for line in examples)]) if examples else None

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # Any: as argparse has them
        """Refuses unknown arguments here, so that the usage shown is that of the command."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(_describe_unknown(unknown[0], self._option_string_actions))
        return parsed, unknown

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is None or value in action.choices:
            return
        if isinstance(action, argparse._SubParsersAction):
            self.error(f"there is no {str(action.metavar).lower()} {value}{suggest(str(value), action.choices)}")
        choices = [str(one) for one in action.choices]
        wanted = f"must be one of {', '.join(choices)}, not {str(value)!r}"
        raise argparse.ArgumentError(action, wanted + suggest(str(value), choices))


class Actions:
    """What a command can do: `list` and `add` of `waypost suppressions`, for example."""

    # argparse has no public name for what add_subparsers returns.
    def __init__(self, parsers: "argparse._SubParsersAction[Parser]") -> None:
        self._parsers = parsers

    def add(self, name: str, run: str, about: str) -> Parser:
        """Adds an action. `run` names the function that does it, `about` is its help."""
        action = self._parsers.add_parser(name, help=about, description=about)
        action.set_defaults(run=run)
        return action


def suggest(word: str, known: Iterable[str]) -> str:
    """A similar known word, as a question to append to a message; empty if there is none."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _describe_unknown(word: str, options: Iterable[str]) -> str:
    if word.startswith("-") and word != "-":
        name = word.partition("=")[0]
        return f"there is no option {name}{suggest(name, options)}"
    return f"{word!r} is one word too many"
