"""Standard output of commands: lines for people, JSON for programs. Progress goes to standard error."""

import contextlib
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TextIO

from relay import moments
from relay.operator_error import OperatorError

_KB = 1024
_CONTROLS = re.compile("[\x7f-\x9f]")  # control characters of terminals that JSON does not escape


class OutputError(OperatorError):
    """Standard output does not take what is written to it."""


def prepare_stream() -> None:
    """Makes any text printable: UTF-8 in a pipe; on a terminal, escapes for what its encoding lacks. Output that was
    closed at the start goes nowhere."""
    if sys.stdout is None:
        sys.stdout = _open_nothing()
    stream = sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        with contextlib.suppress(OSError):  # the stream was replaced after it was opened
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")


def print_line(line: str) -> None:
    """A line on standard output. Raises BrokenPipeError, OutputError."""
    with _refusals():
        sys.stdout.write(line + "\n")


def _open_nothing() -> TextIO:
    return Path(os.devnull).open("w")


def flush() -> None:
    """Brings all lines to where they go. Raises as `print_line` does."""
    with _refusals():
        sys.stdout.flush()


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # nobody reads on, as with `head`
        raise
    except OSError as error:
        sys.stdout = _open_nothing()  # what is left in its buffer would fail again
        raise OutputError(f"the output cannot be written: {error.strerror}") from None


def print_json(value: object, *, indent: int | None = None) -> None:
    """A JSON object, on a line of its own if no indent is given; times in ISO 8601."""
    is_unicode = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
    text = json.dumps(value, ensure_ascii=not is_unicode, indent=indent, default=_to_json)
    print_line(_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def _to_json(value: object) -> object:
    if isinstance(value, datetime):
        return moments.format_iso(value)
    raise TypeError(f"not JSON: {type(value).__name__}")


@contextlib.contextmanager
def show_progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """On a terminal, a bar on standard error; call it with what is done and with the total (0: unknown)."""
    if not sys.stderr.isatty():
        yield lambda _done, _all: None
        return
    from rich.console import Console  # takes a tenth of a second
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, count: bar.update(task, completed=done, total=count or None)


def format_size(octets: int) -> str:
    """`512 B`, `3.2 KB`, `814.0 MB`."""
    size, unit = float(octets), "B"
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if size < _KB or unit == "TB":
            break
        size /= _KB
    return f"{octets} B" if unit == "B" else f"{size:.1f} {unit}"
