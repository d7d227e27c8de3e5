"""Write the lines of the log to standard error: `TIME LEVEL fact key=value …`, or a JSON object a line.

Values with spaces are quoted. Of a traceback what looks like an address is left out, and what PostgreSQL quotes.
Fields that the lines of a task have in common (connection, message) are added to each of them.
"""

import codecs
import json
import logging
import re
import sys
import time
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from relay import redaction

_log = logging.getLogger("waypost")
_AGAIN_AFTER_S = 60.0  # a failure in each round of a loop is not logged each time
_VALUES = re.compile(r"^(DETAIL|CONTEXT|LINE \d+):.*\n?", re.MULTILINE)  # PostgreSQL quotes rows in these
_PLAIN = re.compile(r"[!#-<>-~]++")  # printable ASCII but for space, quote and =: nearly every value
_written_at: dict[object, float] = {}
_common: ContextVar[dict[str, object]] = ContextVar("_common", default={})  # noqa: B039  replaced, never changed
Style = Literal["text", "json"]
codecs.lookup("unicode_escape")  # Python loads it from a file at its first use: too late when out of descriptors


class Fields(NamedTuple):
    """A fact with its fields, and the traceback where there is one. The formatter writes it in its own way."""

    fact: str
    fields: dict[str, object]
    trace: str = ""

    def __str__(self) -> str:
        return " ".join([self.fact, *(f"{key}={_quote_value(value)}" for key, value in self.fields.items())])


class _Formatter(logging.Formatter):
    """The lines of the log. A library's line has no fact: its words stand as they are, or as `text` in JSON."""

    def __init__(self, style: Style) -> None:
        super().__init__()
        self._is_json = style == "json"

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        level = record.levelname.lower()
        line = record.args[0] if isinstance(record.args, tuple) and record.args else None
        if not isinstance(line, Fields):
            trace = self.formatException(record.exc_info) if record.exc_info else ""
            line = Fields("", {"text": record.getMessage(), "logger": record.name}, trace)
        if self._is_json:
            return _as_json(at, level, line)
        words = str(line) if line.fact else line.fields["text"]
        return f"{at} {level} {words}" + (f"\n{_redact_trace(line.trace)}" if line.trace else "")


def _as_json(at: str, level: str, line: Fields) -> str:
    entry = {"at": at, "level": level} | ({"fact": line.fact} if line.fact else {}) | line.fields
    if line.trace:
        entry["trace"] = _redact_trace(line.trace)
    return json.dumps(entry, ensure_ascii=False, default=str, separators=(",", ":"))


def _redact_trace(trace: str) -> str:
    return redaction.redact_addresses(_VALUES.sub("", trace))


def start_logging(level: int = logging.INFO, style: Style = "text") -> None:
    """Sends the log to standard error. Libraries log from warnings on."""
    # What no line of ours shows need not be found out: half the time of a line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(style))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("mail.log").setLevel(logging.CRITICAL)  # aiosmtpd's: we log the same facts ourselves
    _log.setLevel(level)


def add_to_lines(**fields: str) -> None:
    """Adds fields to each line that this task, and those that it starts, will write: what the lines have in common."""
    _common.set(_common.get() | fields)


def common_field(name: str) -> str:
    """A field that was added to this task's lines; "" if it was not."""
    return str(_common.get().get(name, ""))


def write_line(level: int, fact: str, /, **fields: object) -> None:
    """Writes a line."""
    if _log.isEnabledFor(level):
        _log.log(level, "%s", Fields(fact, fields | _missing_from(fields)))


def write_fault(trace: str, fact: str, /, **fields: object) -> None:
    """Writes an error of ours with its traceback, or without ("") where that was written already."""
    _log.error("%s", Fields(fact, fields | _missing_from(fields), trace))


def _missing_from(fields: dict[str, object]) -> dict[str, object]:
    """The fields of this task that the line has not itself."""
    common = _common.get()
    return {key: value for key, value in common.items() if key not in fields} if common else {}


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


def _quote_value(value: object) -> str:
    text = str(value)
    if _PLAIN.fullmatch(text):
        return text
    if text and text.isprintable() and not any(character in text for character in ' "='):
        return text
    return '"' + text.encode("unicode_escape").decode("ascii").replace('"', '\\"') + '"'
