"""Reads a command's arguments, suggests corrections, and prints a help that fits the terminal.

In: arguments.  Out: a namespace, whose `run` names the function that does it (`queue.list_deliveries`, of a module of
`relay.cli`, which is loaded only when the command runs); or exit status 2 with a
usage.
"""

import argparse
import difflib
import shutil
import sys
import textwrap
from collections.abc import Collection, Iterable, Mapping
from typing import Any

_MAX_WIDTH = 100  # longer lines are hard to read
# What an option is called elsewhere: in other commands, in the API, and in its objects.
_SAME_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "--status": ("--type", "--reason", "--failed"),
    "--type": ("--status", "--reason", "--events"),
    "--reason": ("--category", "--status", "--type"),
    "--category": ("--by", "--reason"),
    "--from": ("--since", "--sender"),
    "--after": ("--since",),
    "--to": ("--recipient", "--until"),
    "--before": ("--until",),
    "--address": ("--recipient",),
    "--email": ("--recipient",),
    "--domain": ("--recipient",),
    "--q": ("--query",),
    "--search": ("--query",),
    "--id": ("--message", "--target"),
    "--events": ("--type",),
    "--expires": ("--expires-at",),
    "--ttl": ("--expires-in", "--expires"),
    "--tail": ("--follow",),
}
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
        args = sys.argv[1:] if args is None else list(args)
        self._refuse_unknown_option(args)
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(_describe_unknown(unknown[0], self._option_string_actions))
        return parsed, unknown

    def _refuse_unknown_option(self, words: list[str]) -> None:
        """Of a command with actions, the value of an unknown option would be taken for an action."""
        actions = [one for one in self._actions if isinstance(one, argparse._SubParsersAction)]
        is_value = False
        for word in words if actions else ():
            if is_value:
                is_value = False
                continue
            if not word.startswith("-") or word in ("-", "--"):
                return
            name, equals, _ = word.partition("=")
            meant = [one for one in self._option_string_actions if one == name] or [
                one for one in self._option_string_actions if name.startswith("--") and one.startswith(name)
            ]
            if not meant and name.startswith("--"):
                self.error(_describe_unknown(word, self._option_string_actions))
            is_value = bool(meant) and not equals and self._option_string_actions[meant[0]].nargs is None

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is None or value in action.choices:
            return
        if isinstance(action, argparse._SubParsersAction):
            self.error(f"there is no {str(action.metavar).lower()} {value}{suggest(str(value), action.choices)}")
        choices = [str(one) for one in action.choices]
        wanted = f"must be one of {', '.join(choices)}, not {str(value)!r}"
        raise argparse.ArgumentError(action, wanted + suggest(str(value), choices))


class FilterAction(argparse.Action):
    """Stores what a list is filtered by. An empty text, as a script's unset variable gives it, is refused: it would
    find everything."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:  # Any: as above
        for text in values if isinstance(values, list) else [values]:
            if text is not None and not text.strip():
                raise argparse.ArgumentError(self, "must not be empty; leave it out to find everything")
        setattr(namespace, self.dest, values)


class StreamFilterAction(FilterAction):
    """The same for a stream. Streams are the same in any case."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:  # Any: as above
        super().__call__(parser, namespace, values.strip().lower(), option_string)


class Actions:
    """What a command can do: `list` and `add` of `waypost suppressions`, for example."""

    # argparse has no public name for what add_subparsers returns.
    def __init__(self, parsers: "argparse._SubParsersAction[Parser]") -> None:
        self._parsers = parsers

    def add(self, name: str, run: str, help_text: str) -> Parser:
        """Adds an action. `run` names the function that does it, `help_text` is its help."""
        action = self._parsers.add_parser(name, help=help_text, description=help_text)
        action.set_defaults(run=run)
        return action


def suggest(word: str, choices: Iterable[str]) -> str:
    """A similar known word, as a question to append to a message; empty if there is none."""
    close = difflib.get_close_matches(word, list(choices), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _describe_unknown(word: str, options: Collection[str]) -> str:
    if word.startswith("-") and word != "-":
        name = word.partition("=")[0]
        same = next((one for one in _SAME_OPTIONS.get(name, ()) if one in options), "")
        return f"there is no option {name}{f'; {same} does that here' if same else suggest(name, options)}"
    return f"{word!r} is one word too many"
