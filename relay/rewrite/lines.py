"""Where a tag may be broken so that no line of more than 998 octets is created (RFC 5322 §2.1.1).

In: the text of a 7bit or 8bit leaf and what happens in it, in order.  Out: which of the possible breaks
are made. Lines that were too long before are broken where we edit, and otherwise left.
"""

from collections.abc import Sequence
from typing import NamedTuple

from relay.rewrite.coding import LONGEST_LINE


class Event(NamedTuple):
    """`text[start:end]` becomes `length` octets; with `may_break`, or else a line end."""

    start: int
    end: int
    length: int
    may_break: bool


def breaks(text: bytes, events: Sequence[Event]) -> set[int]:
    """The indexes of the events that become line ends: as few as will do, in each line from its beginning."""
    chosen: set[int] = set()
    first = 0
    while first < len(events):
        begin = text.rfind(b"\n", 0 if first == 0 else events[first - 1].end, events[first].start) + 1
        stop = begin
        past = first
        grown = 0
        while past < len(events) and (past == first or events[past].start <= stop):
            if events[past].end >= stop:  # a span may hold line ends, which go with it
                stop = text.find(b"\n", events[past].end)
                stop = len(text) if stop < 0 else stop
            grown += events[past].length - (events[past].end - events[past].start)
            past += 1
        if stop - begin + grown > LONGEST_LINE:
            chosen |= _fill(events, first, past, begin, stop - (text[stop - 1 : stop] == b"\r"))
        first = past
    return chosen


def _fill(events: Sequence[Event], first: int, past: int, begin: int, stop: int) -> set[int]:
    """Breaks for the line `[begin, stop)`, greedily: a break is made once the line would pass the limit after it."""
    chosen: set[int] = set()
    at, column = begin, 0
    place, column_there = -1, 0  # the last possible break, and the column behind it
    for n in range(first, past):
        event = events[n]
        for length, is_break in ((event.start - at, False), (event.length, event.may_break)):
            column += length
            if column - (length if is_break else 0) > LONGEST_LINE and place >= 0:
                chosen.add(place)
                column -= column_there
                place = -1
            if is_break:
                place, column_there = n, column
        at = event.end
    if column + stop - at > LONGEST_LINE and place >= 0:
        chosen.add(place)
    return chosen
