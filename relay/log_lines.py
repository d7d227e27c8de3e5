"""Write the lines of the log to standard error: `TIME LEVEL fact key=value …`, or a JSON object a line.

Values with spaces are quoted. Of a traceback what looks like an address is left out, and what PostgreSQL quotes.
Fields that the lines of a task have in common (connection, message) are added to each of them.
"""

import codecs
import contextlib
import json
import logging
import re
import sys
import time
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import IO, Literal, NamedTuple

from relay import redaction

_log = logging.getLogger("waypost")
_AGAIN_AFTER_S = 60.0  # a failure in each round of a loop is not logged each time
_VALUES = re.compile(r"^(DETAIL|CONTEXT|LINE \d+):.*\n?", re.MULTILINE)  # PostgreSQL quotes rows in these
_PLAIN = re.compile(r"[!#-<>-~]++")  # printable ASCII but for space, quote and =: nearly every value
_written_at: dict[object, float] = {}
_second: tuple[int, str] = (0, "")  # of the last line, and as lines begin with it
_common: ContextVar[dict[str, object]] = ContextVar("_common", default={})  # noqa: B039  replaced, never changed
Style = Literal["text", "json"]
codecs.lookup("unicode_escape")  # Python loads it from a file at its first use: too late when out of descriptors


class Fields(NamedTuple):
    """A fact with its fields, and the traceback where there is one."""

    fact: str
    fields: dict[str, object]
    trace: str = ""

    def as_text(self, at: str, level: str) -> str:
        words = self.fact
        for key, value in self.fields.items():
            words += f" {key}={value if type(value) is int else _quote_value(str(value))}"
        return f"{at} {level} {words}" + (f"\n{_redact_trace(self.trace)}" if self.trace else "")

    def as_json(self, at: str, level: str) -> str:
        entry = {"at": at, "level": level} | ({"fact": self.fact} if self.fact else {}) | self.fields
        if self.trace:
            entry["trace"] = _redact_trace(self.trace)
        return json.dumps(entry, ensure_ascii=False, default=str, separators=(",", ":"))


class _Output(NamedTuple):
    """Where our lines go once the log is started: past `logging`, whose records are nine tenths of a line's cost."""

    stream: IO[str]
    is_json: bool

    def write(self, level: int, line: Fields) -> None:
        at, word = _format_time(time.time()), _LEVELS[level]
        text = line.as_json(at, word) if self.is_json else line.as_text(at, word)
        with contextlib.suppress(OSError, ValueError):  # a full disk, a closed pipe: the mail goes on
            self.stream.write(text + "\n")  # one write: lines of threads do not mix


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
            return Fields("", {"text": text, "logger": record.name}, trace).as_json(at, level)
        return Fields(text, {}, trace).as_text(at, level)


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
    _output = _Output(sys.stderr, style == "json")


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
    line = Fields(fact, fields, trace)
    if _output is not None:
        _output.write(level, line)
    else:  # in a program that uses us as a library
        _log.log(level, "%s", line.as_text("", "").strip())


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
    if _PLAIN.fullmatch(text):
        return text
    if text and text.isprintable() and not any(character in text for character in ' "='):
        return text
    return '"' + text.encode("unicode_escape").decode("ascii").replace('"', '\\"') + '"'
