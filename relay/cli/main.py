"""The `waypost` command. In: arguments.  Out: the exit status (0 done, 1 failed with a reason, 2 wrong usage)."""

import atexit
import gc
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from relay.cli import command_table, output
from relay.operator_error import OperatorError

Run = Callable[[Any], int]  # Any: an argparse.Namespace


class _Ending:
    """The end of the process. Python would take 0.1 s to free, one by one, all objects that a command has loaded."""

    def __init__(self) -> None:
        self.status: int | None = None
        atexit.register(self._leave)  # the first that is registered is the last that is called

    def _leave(self) -> None:
        if self.status is None:  # an error that nobody caught, wrong usage, or a role's process
            return
        try:
            for stream in (sys.stdout, sys.stderr):
                if stream:  # none, if it was closed at the start
                    stream.flush()
        except (OSError, ValueError):  # Python says so, and ends with status 120
            return
        os._exit(self.status)


def run() -> NoReturn:
    """The program: runs the command that the process was started with, and ends the process."""
    ending = _Ending()
    ending.status = main()
    sys.exit(ending.status)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command. Returns its exit status; argparse leaves with 2 by itself."""
    _load_quickly()
    output.prepare_stream()
    words = sys.argv[1:] if argv is None else argv
    arguments = command_table.make_parser(words).parse_args(words)
    try:
        status = find_run(arguments.run)(arguments)
        output.flush()
        return status
    except OperatorError as error:
        sys.stderr.write("\n".join(error.lines) + "\n")
    except BrokenPipeError:  # `waypost events | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return 1


def _load_quickly() -> None:
    """Loading a command makes some 300,000 objects, and all of them stay: to look for garbage among them meanwhile took
    a tenth of its time. Pydantic would look for plugins in every package that is installed. Roles of the server set
    limits of their own (`relay.node.role`)."""
    gc.set_threshold(300_000, 20, 20)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "true")


def find_run(name: str) -> Run:
    """The function that does a command's work. Its module is imported now, because a help does not need it."""
    module, _, function = name.partition(".")
    run: Run = getattr(importlib.import_module(f"relay.cli.{module}"), function)
    return run
