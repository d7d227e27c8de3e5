"""A provider's event about one recipient, in our terms.

In: JSON of any shape.  Out: a ProviderEvent, or a MalformedPayloadError that says what is wrong with it. Every type is
checked.
"""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from relay.event_type import EventType

_MAX_IDENTIFIER = 1000  # characters of an id
_MAX_TIME = 100  # characters
_MAX_TEXT = 8000  # characters of a reply that are read
_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]{1,255}")
_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")  # RFC 3463 §2
_KEYWORD = re.compile(r"[\w .:/-]{1,64}")
# Types of feedback that are no recipient's complaint (RFC 5965 §7.3 and its registry).
NOT_COMPLAINTS = frozenset({"not-spam", "auth-failure", "virus"})


class BadSignatureError(Exception):
    """The signature or the credentials are not the provider's."""


class MalformedPayloadError(ValueError):
    """The body is not what the provider's documentation says; the text says how."""


class ProviderClass(NamedTuple):
    """A provider's class of a failure, as a category of `relay.bounce`. It decides if the reply's wording does not; a
    class that is not specific ("permanent") decides only if there is no reply."""

    category: str
    is_specific: bool = True


PERMANENT = ProviderClass("user_unknown", is_specific=False)


class ProviderEvent(NamedTuple):
    """`id`: the provider's own, of this event and recipient; `receipt`: its id of the mail.

    `status` and `text` are of the reply that the provider got from `remote`. `held_by_provider`: the provider's
    suppression list held the mail back. `provider_class`: the class that the provider gave a failure. `may_be_hard`:
    False if the provider says that the address is not the cause, even if the reply does.
    """

    type: EventType
    id: str
    at: datetime
    recipient: str
    message_id: str = ""
    receipt: str = ""
    reverse_path: str = ""
    status: str = ""
    text: str = ""
    remote: str = ""
    reason: str = ""
    held_by_provider: bool = False
    provider_class: ProviderClass | None = None
    may_be_hard: bool = True


class EventBatch(NamedTuple):
    """The events of a list that could be read, and what was wrong with the others."""

    events: list[ProviderEvent]
    faults: list[MalformedPayloadError]


def get(data: object, *path: str) -> Any:  # Any: what JSON holds
    """The JSON value at this path; None where there is none."""
    for name in path:
        data = data.get(name) if isinstance(data, dict) else None
    return data


def text(data: object, *path: str) -> str:
    """The text or number at this path; "" where there is none."""
    found = get(data, *path)
    if not isinstance(found, str | int | float) or isinstance(found, bool):
        return ""
    # JSON can contain half of a surrogate pair. A database takes neither that nor NUL.
    return str(found).replace("\0", "").encode("utf-8", "replace").decode()


def reply(data: object, *path: str) -> str:
    """As `text`, but at most as long as a reply."""
    return text(data, *path)[:_MAX_TEXT]


def identifier(data: object, *path: str) -> str:
    """An id or address: short, and without the angle brackets that some put around it."""
    found = text(data, *path).strip()
    if found.startswith("<") and found.endswith(">"):
        found = found[1:-1]
    return "".join(one for one in found[:_MAX_IDENTIFIER] if one.isprintable())


def keyword(text: str) -> str:
    """A provider's name for a kind of event; "" for prose, which may name a person."""
    return text if _KEYWORD.fullmatch(text) else ""


def host(data: object, *path: str) -> str:
    """The name or address of a host; "" where anything else stands."""
    found = text(data, *path).rpartition(" ")[2]
    return found if _HOST.fullmatch(found) else ""


def status(data: object, *path: str) -> str:
    """An enhanced status; "" where anything else stands."""
    found = text(data, *path).strip()
    return found if _STATUS.fullmatch(found) else ""


def list_items(data: object, *path: str) -> Iterator[Any]:  # Any: what JSON holds
    """The members of a list; none where there is no list."""
    found = get(data, *path)
    yield from found if isinstance(found, list) else ()


def parse_batch(items: object, read_item: Callable[[object], Iterator[ProviderEvent]]) -> EventBatch:
    """Reads a list of events; one bad event does not lose the others.

    Raises MalformedPayloadError if it is no list, or if every event is bad.
    """
    if not isinstance(items, list):
        raise MalformedPayloadError("not a list of events")
    events: list[ProviderEvent] = []
    faults: list[MalformedPayloadError] = []
    for one in items:
        try:
            events += read_item(one)
        except MalformedPayloadError as error:
            faults.append(error)
    if faults and len(faults) == len(items):
        raise faults[0]
    return EventBatch(events, faults)


def time(data: object, *path: str) -> datetime:
    """Seconds since 1970, ISO 8601, or as in mail. Raises MalformedPayloadError."""
    written = text(data, *path)[:_MAX_TIME]
    found = None
    with suppress(ValueError, OverflowError, OSError):
        if math.isfinite(number := float(written)):
            found = datetime.fromtimestamp(number, UTC)
    if found is None:
        with suppress(ValueError):
            found = datetime.fromisoformat(written)
    if found is None:
        with suppress(ValueError, TypeError, IndexError):
            found = parsedate_to_datetime(written)
    if found is None or not 1971 < found.year < 9000:
        raise MalformedPayloadError(f"{'.'.join(path)}: no time: {written[:40]!r}")
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
