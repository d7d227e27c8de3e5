"""What a provider says of one recipient, in our words.

In: JSON of any shape.  Out: a Word, or a Malformed that says what is wrong with it. Nothing here trusts a type.
"""

import math
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from relay.store.tables import EventType

_LONGEST = 1000  # characters of an id


class Forged(Exception):
    """The signature or the credentials are not the provider's."""


class Malformed(ValueError):
    """The body is not what the provider's documentation says; the text says how."""


class Word(NamedTuple):
    """`id`: the provider's own, of this event and recipient; `receipt`: its id of the mail.

    `status` and `text` are of the reply that it got from `remote`; `is_held`: its own suppression list held the mail.
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
    is_held: bool = False


def at(data: object, *path: str) -> Any:  # Any: what JSON holds
    """What stands there; None where nothing does."""
    for name in path:
        data = data.get(name) if isinstance(data, dict) else None
    return data


def text(data: object, *path: str) -> str:
    """The text or number that stands there; "" where there is none."""
    found = at(data, *path)
    return str(found).replace("\0", "") if isinstance(found, str | int | float) and not isinstance(found, bool) else ""


def name(data: object, *path: str) -> str:
    """An id or address: short, and without the angle brackets that some put around it."""
    found = text(data, *path).strip()
    if found.startswith("<") and found.endswith(">"):
        found = found[1:-1]
    return found[:_LONGEST]


def items(data: object, *path: str) -> Iterator[Any]:  # Any: what JSON holds
    """The members of a list; none where there is no list."""
    found = at(data, *path)
    yield from found if isinstance(found, list) else ()


def time(data: object, *path: str) -> datetime:
    """Seconds since 1970, ISO 8601, or as in mail. Raises Malformed."""
    said = text(data, *path)
    with suppress(ValueError, OverflowError, OSError):
        if math.isfinite(number := float(said)):
            return datetime.fromtimestamp(number, UTC)
    found = None
    with suppress(ValueError):
        found = datetime.fromisoformat(said)
    if found is None:
        with suppress(ValueError, TypeError, IndexError):
            found = parsedate_to_datetime(said)
    if found is None or not 1971 < found.year < 9000:
        raise Malformed(f"{'.'.join(path)}: no time: {said[:40]!r}")
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
