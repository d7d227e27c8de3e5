"""Where a tag may be broken so that no line of more than 998 octets is created (RFC 5322 §2.1.1).

In: the text of a 7bit or 8bit leaf and what happens in it, in order.  Out: which of the possible breaks
are made, and what does not fit. Lines that were too long before are broken where we edit, and otherwise left.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from relay.mime.transfer_encoding import MAX_LINE


class LineEdit(NamedTuple):
    """`text[start:end]` becomes `length` octets; with `may_break`, or else a line end."""

    start: int
    end: int
    length: int
    may_break: bool


def all_fit(text: bytes, events: Sequence[LineEdit]) -> bool:
    """True if no line becomes too long, or longer than too long, even if none is broken."""
    return all(line.stop - line.begin + line.growth <= MAX_LINE for line in _lines(text, events))


def choose_breaks(text: bytes, events: Sequence[LineEdit]) -> set[int]:
    """The indexes of the events that become line ends: as few as will do, in each line from its beginning."""
    chosen: set[int] = set()
    for line in _lines(text, events):
        if line.stop - line.begin + line.growth > MAX_LINE:
            chosen |= _choose_in_line(events, line)
    return chosen


def lines_too_long(text: bytes, events: Sequence[LineEdit], breaks: set[int]) -> list[range]:
    """The events, as indexes, of each line that passes the limit in spite of those breaks, and did not before."""
    found: list[range] = []
    for line in _lines(text, events):
        if line.stop - line.begin + line.growth <= MAX_LINE or _was_long(text, line):
            continue
        at, column = line.begin, 0
        widest = 0
        for n in range(line.first, line.end):
            column += events[n].start - at + (0 if n in breaks else events[n].length)
            at = events[n].end
            widest = max(widest, column)
            column = 0 if n in breaks else column
        if max(widest, column + line.stop - at) > MAX_LINE:
            found.append(range(line.first, line.end))
    return found


def edits_that_fit(
    text: bytes, events: Sequence[LineEdit], is_first: Sequence[bool], is_end: Sequence[bool]
) -> set[int]:
    """The indexes of the events that can be made where a line ends only at the events that say so. Those that come
    first have the room first, and are made in lines that were too long before; nothing else is."""
    fitting: set[int] = set()
    for line in _split_at_ends(_lines(text, events), events, is_end):
        was_long = _was_long(text, line)
        room = MAX_LINE - (line.stop - line.begin)
        for n in sorted(range(line.first, line.end), key=lambda n: not is_first[n]):
            growth = events[n].length - (events[n].end - events[n].start)
            if is_first[n] if was_long else growth <= room:
                fitting.add(n)
                room -= growth
    fitting.update(n for n, ends in enumerate(is_end) if ends)
    return fitting


def _split_at_ends(lines: Iterator["_Line"], events: Sequence[LineEdit], is_end: Sequence[bool]) -> Iterator["_Line"]:
    """The lines, each parted at the events that end it."""
    for line in lines:
        first, begin = line.first, line.begin
        for n in range(line.first, line.end):
            if is_end[n]:
                yield _Line(first, n, begin, events[n].start + events[n].length - len(b"\r\n"), 0)
                first, begin = n + 1, events[n].end
        yield _Line(first, line.end, begin, line.stop, 0)


class _Line(NamedTuple):
    """`text[begin:stop]` is a line, without its end, in which `events[first:past]` happen. Where spans hold
    line ends, it is as many lines as they join."""

    first: int
    end: int
    begin: int
    stop: int
    growth: int


def _lines(text: bytes, events: Sequence[LineEdit]) -> Iterator[_Line]:
    """The lines in which something happens."""
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
        yield _Line(first, past, begin, stop - (text[stop - 1 : stop] == b"\r" and stop > begin), grown)
        first = past


def _was_long(text: bytes, line: _Line) -> bool:
    """True if one of the lines was too long before."""
    if line.stop - line.begin <= MAX_LINE:
        return False
    return max(len(old) for old in text[line.begin : line.stop].split(b"\r\n")) > MAX_LINE


def _choose_in_line(events: Sequence[LineEdit], line: _Line) -> set[int]:
    """Breaks for the line, greedily: a break is made once the line would pass the limit after it."""
    chosen: set[int] = set()
    at, column = line.begin, 0
    place, column_there = -1, 0  # the last possible break, and the column behind it
    for n in range(line.first, line.end):
        event = events[n]
        for length, is_break in ((event.start - at, False), (event.length, event.may_break)):
            column += length
            if column - (length if is_break else 0) > MAX_LINE and place >= 0:
                chosen.add(place)
                column -= column_there
                place = -1
            if is_break:
                place, column_there = n, column
        at = event.end
    if column + line.stop - at > MAX_LINE and place >= 0:
        chosen.add(place)
    return chosen
