"""Write the lines of the log to standard error: `TIME LEVEL fact key=value …`.

Values with spaces are quoted. Of a traceback what looks like an address is left out, and what PostgreSQL quotes.
"""

import codecs
import logging
import re
import sys
import time
import traceback
from datetime import UTC, datetime

from relay import redaction

_log = logging.getLogger("waypost")
_AGAIN_AFTER_S = 60.0  # a failure in each round of a loop is not logged each time
_VALUES = re.compile(r"^(DETAIL|CONTEXT|LINE \d+):.*\n?", re.MULTILINE)  # PostgreSQL quotes rows in these
_written_at: dict[object, float] = {}
codecs.lookup("unicode_escape")  # Python loads it from a file at its first use: too late when out of descriptors


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        format_line = f"{at} {record.levelname.lower()} {record.getMessage()}"
        if not record.exc_info:
            return format_line
        return f"{format_line}\n{redaction.redact_addresses(_VALUES.sub('', self.formatException(record.exc_info)))}"


def start_logging(level: int = logging.INFO) -> None:
    """Sends the log to standard error. Libraries log from warnings on."""
    # What no line of ours shows need not be found out: half the time of a line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("mail.log").setLevel(logging.CRITICAL)  # aiosmtpd's: we log the same facts ourselves
    _log.setLevel(level)


def write_line(level: int, fact: str, /, **keys: object) -> None:
    """Writes a line."""
    if _log.isEnabledFor(level):
        _log.log(level, "%s", format_line(fact, **keys))


def format_line(fact: str, /, **keys: object) -> str:
    """`fact key=value …`."""
    return " ".join([fact, *(f"{key}={_quote_value(value)}" for key, value in keys.items())])


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
    if text and text.isprintable() and not any(character in text for character in ' "='):
        return text
    return '"' + text.encode("unicode_escape").decode("ascii").replace('"', '\\"') + '"'
