"""Identifiers of messages and events: short, sortable by time, unique without a database.

Twelve octets (48 bits of milliseconds since 1970, 48 random bits), written as 20 characters
of base32hex in lower case, whose order is the order of time.
"""

import os
import re
import threading
import time
from datetime import UTC, datetime
from functools import lru_cache

from relay import base_encoding

OCTETS = 12
_RANDOM_OCTETS = 6
_RANDOM_AHEAD = 64  # ids whose random octets are asked for at once: each call of the kernel takes 6 µs
_lock = threading.Lock()
_last = 0
_random = bytearray()
os.register_at_fork(after_in_child=_random.clear)  # a child process must not make its parent's ids
PATTERN = "[0-9a-v]{20}"  # for what is looked up: any 20 characters of the alphabet
_PADDING, _SHIFTS = 4, range(90, -10, -10)  # 20 digits for 96 bits, two at a time
_ID = re.compile(r"[0-9a-v]{19}[0g]")  # 100 bits for 96: the last four are zero


def new(at: datetime | None = None) -> str:
    """A new id, 20 characters of `0-9a-v`; greater than any that this process has made in the same millisecond.

    `at` is the time of what it names: rows are looked up by ranges of ids, so that an id and the time that stands
    beside it have to come from one clock. Without it the time is now.
    """
    global _last
    milliseconds = time.time_ns() // 1_000_000 if at is None else int(at.timestamp() * 1000)
    with _lock:
        if not _random:
            _random.extend(os.urandom(_RANDOM_OCTETS * _RANDOM_AHEAD))
        made = (milliseconds << 48) + int.from_bytes(_random[-_RANDOM_OCTETS:], "big")
        del _random[-_RANDOM_OCTETS:]
        if made >> 48 == _last >> 48:
            made = _last + 1 + (made & 0xFFFF)  # still not to be guessed, and unique among processes
        _last = made
    return base_encoding.number_to_base32hex((made % (1 << 96)) << _PADDING, _SHIFTS)


def from_parts(milliseconds: int, random: bytes) -> str:
    """The id of that time (milliseconds since 1970) and those six random octets."""
    return from_octets(milliseconds.to_bytes(6, "big") + random)


def lowest_at(at: datetime) -> str:
    """The least id of that time: a range of ids is a range of time."""
    return from_parts(int(at.timestamp() * 1000), bytes(6))


def from_octets(octets: bytes) -> str:
    """The written form of an id's 12 octets."""
    return base_encoding.to_base32hex(octets)


@lru_cache(maxsize=64)  # asked for every link of a message
def to_octets(text: str) -> bytes:
    """The 12 octets of a written id. Raises ValueError for anything that is not one."""
    if not _ID.fullmatch(text):
        raise ValueError("not an id: 20 characters of 0-9a-v")
    return (int(text, 32) >> 4).to_bytes(OCTETS, "big")


def milliseconds_of(text: str) -> int:
    """When the id was made, since 1970. Raises ValueError for anything that is not one."""
    if not _ID.fullmatch(text):
        raise ValueError("not an id: 20 characters of 0-9a-v")
    return int(text[:10], 32) >> 2  # ten digits have 50 bits, and the first 48 are the time


def time_of(text: str) -> datetime:
    """When the id was made (UTC, to the millisecond). Raises ValueError for anything that is not one."""
    return datetime.fromtimestamp(milliseconds_of(text) / 1000, UTC)
