"""The types of arguments.

Each function takes the text of an argument and returns its value, or raises argparse.ArgumentTypeError with a sentence
that says what to write.
"""

import argparse
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta

MAX_WORKERS = 64
_PAST = "that time is past already"
# As api_keys has them.
SCOPES = ("read", "write", "messages", "suppressions", "queue", "consent", "pixels", "webhooks", "metrics", "audit")
STATUSES = ("queued", "delivered", "deferred", "bounced", "expired", "suppressed")  # as tables.Status has them
STATISTIC_GROUPS = ("hour", "day", "stream", "tag", "domain", "category")  # as statistics has them
DOORS = ("console", "api", "command_line")  # as audit_log.Door has them


def positive_count(text: str) -> int:
    """A number from 1 on."""
    return _read_count(text, None)


def worker_count(text: str) -> int:
    """A number of mail processes."""
    return _read_count(text, MAX_WORKERS)


def reply_code(text: str) -> int:
    """The code of an SMTP reply."""
    return _read_count(text, 599)


def _read_count(text: str, highest: int | None) -> int:
    wanted = f"a number from 1 to {highest}" if highest else "a number, 1 or more"
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= (highest or 10**9):
        raise argparse.ArgumentTypeError(f"must be {wanted}, not {text!r}")
    return int(text[:9])


def key_id(text: str) -> int:
    """The number of a key."""
    if not text.isascii() or not text.isdecimal() or len(text) > 3:
        raise argparse.ArgumentTypeError("must be the number of a key, as `waypost keys list` shows it")
    return int(text)


def duration(text: str) -> timedelta:
    """A duration such as 30m, 12h or 7d."""
    from relay.config import values  # imported here, because it imports the whole configuration

    try:
        return values.read_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}, not {text!r}") from None


def moment(text: str) -> datetime:
    """A point in time, in UTC: a time ago (7d), a day (2026-11-27) or a time of one (2026-11-27T14:00)."""
    from relay import moments  # imported here, as above

    try:
        return moments.read_moment(text, datetime.now(UTC))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def later_moment(text: str) -> datetime:
    """A point in time that is still to come, in UTC."""
    at = moment(text)
    if at <= datetime.now(UTC):
        raise argparse.ArgumentTypeError(_PAST)
    return at


def expiry(text: str) -> datetime:
    """The end of something: after 90d, or at the end of a day."""
    now = datetime.now(UTC)
    try:
        at = now + duration(text)
    except argparse.ArgumentTypeError:
        try:
            at = datetime.combine(datetime.fromisoformat(text).date(), time(23, 59, 59), UTC)
        except ValueError:
            raise argparse.ArgumentTypeError('must be a duration such as "90d", or a day such as 2027-12-31') from None
    if at <= now:
        raise argparse.ArgumentTypeError(_PAST)
    return at


def make_word_list_type(words: tuple[str, ...], noun: str) -> Callable[[str], list[str]]:
    """A type for some of these words, joined by commas; `noun` names one in an error."""

    def read(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := [word for word in chosen if word not in words]:
            raise argparse.ArgumentTypeError(f"there is no {noun} {unknown[0]!r}; one of {', '.join(words)}")
        return chosen

    return read
