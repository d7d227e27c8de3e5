"""Write the lines of the log to standard error: `TIME LEVEL fact key=value …`, or a JSON object a line.

Values with spaces are quoted. Of a traceback what looks like an address is left out, and what PostgreSQL quotes.
Fields that the lines of a task have in common (connection, message) are added to each of them.
"""

import asyncio
import codecs
import json
import logging
import re
import sys
import time
import traceback
from collections import deque
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import IO, Literal

from relay import redaction

_log = logging.getLogger("waypost")
_AGAIN_AFTER_S = 60.0  # a failure in each round of a loop is not logged each time
_VALUES = re.compile(r"^(DETAIL|CONTEXT|LINE \d+):.*\n?", re.MULTILINE)  # PostgreSQL quotes rows in these
_is_plain = re.compile(r"[!#-<>-~]++").fullmatch  # printable ASCII but for space, quote and =: nearly every value
_written_at: dict[object, float] = {}
_running_loop = asyncio._get_running_loop  # None where there is none, as in another thread
_second: tuple[int, str] = (0, "")  # of the last line, and as lines begin with it
_common: ContextVar[dict[str, object]] = ContextVar("_common", default={})  # noqa: B039  replaced, never changed
Style = Literal["text", "json"]
codecs.lookup("unicode_escape")  # Python loads it from a file at its first use: too late when out of descriptors


def _as_text(at: str, level: str, fact: str, fields: Mapping[str, object], trace: str) -> str:
    line = f"{at} {level} {fact}"
    for key, value in fields.items():
        if type(value) is not int:
            value = value if type(value) is str else str(value)
            if not _is_plain(value):
                value = _quote_value(value)
        line += f" {key}={value}"
    return f"{line}\n{_redact_trace(trace)}" if trace else line


def _as_json(at: str, level: str, fact: str, fields: Mapping[str, object], trace: str) -> str:
    entry = {"at": at, "level": level, **({"fact": fact} if fact else {}), **fields}
    if trace:
        entry["trace"] = _redact_trace(trace)
    return json.dumps(entry, ensure_ascii=False, default=str, separators=(",", ":"))


class _Output:
    """Where our lines go once the log is started: past `logging`, whose records are nine tenths of a line's cost."""

    def __init__(self, stream: IO[str], style: Style) -> None:
        self._stream = stream
        self._format_line = _as_json if style == "json" else _as_text
        self._waiting: deque[str] = deque()  # lines that are written together at the end of the event loop's turn

    def write(self, level: int, fact: str, fields: Mapping[str, object], trace: str) -> None:
        line = self._format_line(_format_time(time.time()), _LEVELS[level], fact, fields, trace) + "\n"
        loop, is_first = _running_loop(), not self._waiting
        self._waiting.append(line)
        if loop is None or level > logging.INFO:
            self._flush()
        elif is_first:
            loop.call_soon(self._flush)

    def _flush(self) -> None:
        lines = ""
        try:
            while True:  # another thread may take some of them, and writes those
                lines += self._waiting.popleft()
        except IndexError:
            pass
        try:  # noqa: SIM105  `suppress` takes half as long as the line
            self._stream.write(lines)  # one write: lines of threads do not mix
        except (OSError, ValueError):
            pass  # a full disk, a closed pipe: the mail goes on


_LEVELS = {getattr(logging, name): name.lower() for name in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")}
_output: _Output | None = None


class _LibraryFormatter(logging.Formatter):
    """The lines of libraries. They have no fact: their words stand as they are, or as `text` in JSON."""

    def __init__(self, style: Style) -> None:
        super().__init__()
        self._is_json = style == "json"

    def format(self, record: logging.LogRecord) -> str:
        at, level, text = _format_time(record.created), record.levelname.lower(), record.getMessage()
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        if self._is_json:
            return _as_json(at, level, "", {"text": text, "logger": record.name}, trace)
        return _as_text(at, level, text, {}, trace)


def _format_time(at_s: float) -> str:
    """UTC, to the millisecond. The part that stays the same for a second is made once."""
    global _second
    second = int(at_s)
    known, text = _second
    if known != second:
        text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        _second = second, text
    return f"{text}.{int((at_s - second) * 1000):03d}Z"


def _redact_trace(trace: str) -> str:
    return redaction.redact_addresses(_VALUES.sub("", trace))


def start_logging(level: int = logging.INFO, style: Style = "text") -> None:
    """Sends the log to standard error. Libraries log from warnings on."""
    global _output
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LibraryFormatter(style))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("mail.log").setLevel(logging.CRITICAL)  # aiosmtpd's: we log the same facts ourselves
    _log.setLevel(level)
    _output = _Output(sys.stderr, style)


def add_to_lines(**fields: str) -> None:
    """Adds fields to each line that this task, and those that it starts, will write: what the lines have in common."""
    _common.set(_common.get() | fields)


def common_field(name: str) -> str:
    """A field that was added to this task's lines; "" if it was not."""
    return str(_common.get().get(name, ""))


def write_line(level: int, fact: str, /, **fields: object) -> None:
    """Writes a line."""
    if level >= _log.level:
        _write(level, fact, fields, "")


def write_fault(trace: str, fact: str, /, **fields: object) -> None:
    """Writes an error of ours with its traceback, or without ("") where that was written already."""
    _write(logging.ERROR, fact, fields, trace)


def _write(level: int, fact: str, fields: dict[str, object], trace: str) -> None:
    for key, value in _common.get().items():  # of this task, unless the line has them itself
        if key not in fields:
            fields[key] = value
    if _output is not None:
        _output.write(level, fact, fields, trace)
    else:  # in a program that uses us as a library
        _log.log(level, "%s", _as_text("", "", fact, fields, trace).strip())


def format_error(error: BaseException | None) -> str:
    """Its traceback."""
    return "".join(traceback.format_exception(error)).rstrip() if error else ""


def find_place(error: BaseException | None) -> str:
    """`FILE:LINE` where it was raised."""
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__ if error else None):
        place = f"{frame.f_code.co_filename.rpartition('/')[2]}:{line}"
    return place


def is_first_within_minute(key: object) -> bool:
    """True if that key was not logged within the last minute."""
    now = time.monotonic()
    if _written_at.get(key, -_AGAIN_AFTER_S) > now - _AGAIN_AFTER_S:
        return False
    for old in [one for one, at in list(_written_at.items()) if at <= now - _AGAIN_AFTER_S]:
        _written_at.pop(old, None)
    _written_at[key] = now
    return True


def _quote_value(text: str) -> str:
    if text and text.isprintable() and not any(character in text for character in ' "='):
        return text
    return '"' + text.encode("unicode_escape").decode("ascii").replace('"', '\\"') + '"'
