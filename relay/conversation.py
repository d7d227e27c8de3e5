"""An SMTP conversation as lines: what was sent and received, and when.

In: lines with their times.  Out: one text, as it is stored with an attempt, and the lines again. Mail's octets and
credentials are in no line: who makes the lines leaves them out.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

MAX_LINES, MAX_CHARACTERS = 60, 4000  # of what is stored
MAX_LINE = 500  # characters
_HEAD_LINES, _HEAD_CHARACTERS = 20, 1400  # of these, for the beginning: how it ended matters more
_PREFIX_CHARACTERS = 12  # before a line's text, about


class Direction(StrEnum):
    """Who a line is of. The value is the line's mark where it is stored."""

    SENT = ">"
    RECEIVED = "<"
    NOTE = "*"  # nobody's: what happened between lines


class ConversationLine(NamedTuple):
    """A line without its end. `at_ms`: since the connection was begun."""

    at_ms: int
    direction: Direction
    text: str


def to_text(lines: Iterable[ConversationLine]) -> str:
    """The lines as one text, which any database stores. Where they are too many, the middle is left out."""
    return "\n".join(f"{line.at_ms} {line.direction} {line.text}" for line in _shorten(list(map(_clean, lines))))


def read_lines(text: str) -> list[ConversationLine]:
    """The lines of such a text; of any other text, those that can be read."""
    found = []
    for line in text.split("\n"):
        at_ms, _, rest = line.partition(" ")
        direction, _, words = rest.partition(" ")
        if at_ms.isdecimal() and len(at_ms) < 12 and direction in set(Direction):
            found.append(ConversationLine(int(at_ms), Direction(direction), words))
    return found


def replace_texts(text: str, replace: Callable[[ConversationLine], str]) -> str:
    """The conversation with other words on each line."""
    return to_text(line._replace(text=replace(line)) for line in read_lines(text))


def _clean(line: ConversationLine) -> ConversationLine:
    words = line.text[:MAX_LINE]
    if not words.isprintable():
        words = words.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        words = "".join(c if c.isprintable() else "?" for c in words)
    return line._replace(text=words)


def _shorten(lines: Sequence[ConversationLine]) -> Sequence[ConversationLine]:
    if len(lines) <= MAX_LINES and sum(map(_size, lines)) <= MAX_CHARACTERS:
        return lines
    head = _count_fitting(lines, _HEAD_LINES, _HEAD_CHARACTERS)
    rest = lines[head:]
    tail = _count_fitting(rest[::-1], MAX_LINES - 1 - head, MAX_CHARACTERS - _HEAD_CHARACTERS - MAX_LINE)
    left_out = len(rest) - tail
    note = ConversationLine(lines[head - 1].at_ms, Direction.NOTE, f"{left_out} lines are left out")
    return [*lines[:head], note, *lines[len(lines) - tail :]]


def _count_fitting(lines: Sequence[ConversationLine], max_lines: int, max_characters: int) -> int:
    """How many of the first lines fit; at least one."""
    size = 0
    for n, line in enumerate(lines[:max_lines]):
        size += _size(line)
        if size > max_characters:
            return max(n, 1)
    return min(len(lines), max_lines)


def _size(line: ConversationLine) -> int:
    return len(line.text) + _PREFIX_CHARACTERS
