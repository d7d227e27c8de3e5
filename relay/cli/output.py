"""What a command says on standard output: lines for people, JSON for programs."""

import contextlib
import io
import json
import sys
from datetime import datetime


def prepare_stream() -> None:
    """Whatever a mail holds can be printed: in a pipe as UTF-8, on a terminal of another encoding by its escape."""
    stream = sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        with contextlib.suppress(OSError):  # what stands behind it was replaced since it was opened
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")


def print_line(line: str) -> None:
    """A line on standard output."""
    sys.stdout.write(line + "\n")


def print_json(value: object) -> None:
    """A JSON object on a line of its own; times in ISO 8601."""
    is_unicode = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
    print_line(json.dumps(value, ensure_ascii=not is_unicode, default=_to_json))


def _to_json(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    raise TypeError(f"not JSON: {type(value).__name__}")
