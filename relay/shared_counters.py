"""Counters of one process in memory that the other processes of its node can read.

In: names with labels, and amounts.  Out: the values, in any process that was forked after the memory was made. A
successor takes the memory over, so that counters go on where its predecessor died. Anonymous memory: no file, no disk.

The memory is an array of 64-bit integers. The first says how many of them are in use. Records follow: how many values
and how many octets of name, the values, the name. A record is written before it counts as in use, and never moves.
"""

import bisect
import mmap
import threading
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

_WORD = 8
_OCTETS = 512 << 10  # of address space; memory is taken as it is used: some 100 octets for each name with its labels
_MAX_SERIES = 400  # of one name; what comes after them is counted under _OTHER
_MAX_LABEL = 100  # characters
_OTHER = "other"
_BETWEEN = "\0"


class SeriesKey(NamedTuple):
    """A name and the values of its labels."""

    name: str
    labels: tuple[str, ...]


class SharedCounters:
    """One process counts, and all may read.

    Without a lock, which would cost as much as all the rest: where two threads count the same thing at the same moment
    one of them may not be counted. What happens often is counted on the event loop.
    """

    def __init__(self) -> None:
        self._words = memoryview(mmap.mmap(-1, _OCTETS)).cast("q")
        self._words[0] = 1
        self._lock = threading.Lock()
        self._places: dict[tuple[str, ...], int] = {}  # by name and labels
        self._series: Counter[str] = Counter()

    def take_over(self, gauges: Sequence[str]) -> None:
        """Called by the process that counts from now on. What a predecessor measured (`gauges`) is 0 again."""
        self._lock = threading.Lock()
        self._places.clear()
        self._series.clear()
        for key, place, count in self._records():
            self._places[key.name, *key.labels] = place
            self._series[key.name] += 1
            if key.name in gauges:
                for at in range(place, place + count):
                    self._words[at] = 0

    def add(self, name: str, *labels: str, amount: int = 1) -> None:
        """Adds to a counter or gauge."""
        place = self._places.get((name, *labels)) or self._find_place(name, labels, 1)
        self._words[place] += amount

    def set(self, name: str, *labels: str, value: int) -> None:
        """Sets a gauge."""
        self._words[self._places.get((name, *labels)) or self._find_place(name, labels, 1)] = value

    def observe(self, name: str, *labels: str, bounds: Sequence[int], value: int) -> None:
        """Counts a value in a histogram: a counter for each bound and one above them, then the sum of all values."""
        place = self._places.get((name, *labels)) or self._find_place(name, labels, len(bounds) + 2)
        bucket = bisect.bisect_left(bounds, value)
        self._words[place + bucket] += 1
        self._words[place + len(bounds) + 1] += value

    def read(self) -> dict[SeriesKey, list[int]]:
        """All values, as they are now."""
        return {key: self._words[place : place + count].tolist() for key, place, count in self._records()}

    def _records(self) -> list[tuple[SeriesKey, int, int]]:
        """Each record's key, the place of its first value, and how many values it has."""
        found, at, end = [], 1, self._words[0]
        while at < end:
            count, octets = self._words[at], self._words[at + 1]
            place = at + 2
            at = place + count + -(-octets // _WORD)
            name, *labels = bytes(self._words[place + count : at])[:octets].decode().split(_BETWEEN)
            found.append((SeriesKey(name, tuple(labels)), place, count))
        return found

    def _find_place(self, name: str, labels: tuple[str, ...], count: int) -> int:
        """Where the first value is. Labels may come from strangers: they are bounded in length and number."""
        with self._lock:
            bounded = tuple(label.replace(_BETWEEN, " ")[:_MAX_LABEL] for label in labels)
            encoded = _BETWEEN.join((name, *bounded)).encode("utf-8", "replace")
            needed = 2 + count + -(-len(encoded) // _WORD)
            if self._series[name] >= _MAX_SERIES or self._words[0] + needed > len(self._words) // 2:
                bounded = (_OTHER,) * len(labels)
                encoded = _BETWEEN.join((name, *bounded)).encode()
                needed = 2 + count + -(-len(encoded) // _WORD)
            if (place := self._places.get((name, *bounded))) is None:
                place = self._append(encoded, count, needed)
                self._places[name, *bounded] = place
                self._series[name] += 1
                self._places[name, *labels] = place
            return place

    def _append(self, encoded: bytes, count: int, needed_words: int) -> int:
        at = self._words[0]
        self._words[at], self._words[at + 1] = count, len(encoded)
        place = at + 2
        octets = encoded.ljust((needed_words - 2 - count) * _WORD, b"\0")
        self._words[place + count : at + needed_words] = memoryview(octets).cast("q")
        self._words[0] = at + needed_words
        return place


def add_up(counters: Sequence[SharedCounters]) -> dict[SeriesKey, list[int]]:
    """The values of several processes, summed."""
    total: dict[SeriesKey, list[int]] = {}
    for one in counters:
        for key, values in one.read().items():
            known = total.get(key)
            total[key] = values if known is None else [sum(pair) for pair in zip(known, values, strict=True)]
    return total
