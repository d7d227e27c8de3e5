"""Points in time as people and programs write them.

In: `2026-11-27`, `2026-11-27T14:00:00Z` (ISO 8601; UTC unless it says otherwise), seconds since 1970, or how long ago
(`7d`, `12h`).  Out: an aware UTC `datetime` from 1970 to 9999; and such a `datetime` as text, with a final `Z`.
"""

import re
from datetime import UTC, datetime

MAX_LENGTH = 40  # characters
_SECONDS = re.compile(r"[0-9]{9,11}")
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


def read_moment(text: str, now: datetime) -> datetime:
    """The point in time. Raises ValueError with a sentence that says what to write instead."""
    from relay.config import values  # imported here, because it imports what all values need

    if len(text) > MAX_LENGTH:
        raise ValueError(_what_to_write(text[:MAX_LENGTH]))
    try:
        if _SECONDS.fullmatch(text):
            return datetime.fromtimestamp(int(text), UTC)
        at = datetime.fromisoformat(text)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        try:
            at = now - values.read_duration(text if text[-1:].isalpha() else "")
        except (ValueError, OverflowError):
            raise ValueError(_what_to_write(text)) from None
    return max(at, _EARLIEST)


def format_iso(at: datetime) -> str:
    """ISO 8601 in UTC, with a final Z."""
    return at.isoformat().replace("+00:00", "Z")


def _what_to_write(text: str) -> str:
    return f"must be a time such as 2026-11-27, 2026-11-27T14:00:00Z, or 7d for a week ago, not {text!r}"
