"""The one idea that carries the house: a delivery is the original and its edits.

Surgeons return `Edit`s, half-open octet spans with the octets that replace them; `splice` alone
makes the result. What differs by recipient stands in an edit as a `Hole` until it is rendered.
"""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import NamedTuple

STORED = b"stored:"  # before a destination that is stored; no scheme of a tracked link, and none that is redirected to


class Kind(StrEnum):
    """What a tracking URL does; the value is its first path segment."""

    OPEN = "o"
    CLICK = "c"
    UNSUBSCRIBE = "u"


class Hole(NamedTuple):
    """The place of a URL or an address that is different for every recipient."""

    kind: Kind
    link: int = 0  # the link's number in the message, from 1; 0 where there is none
    url: bytes = b""  # a click's destination; of an address that unsubscribes, in the link's place, its domain

    @property
    def stored(self) -> bytes:
        """The destination that the token only refers to, too long for a URL; empty where there is none."""
        return self.url[len(STORED) :] if self.url.startswith(STORED) else b""


Piece = bytes | Hole
Mint = Callable[
    [Hole], bytes
]  # the URL that fills a hole, for one recipient: printable ASCII without & " ' < > = or space


class Edit(NamedTuple):
    """`octets[start:end]` becomes `new`."""

    start: int
    end: int
    new: bytes
    why: str


def fill(pieces: Iterable[Piece], mint: Mint) -> bytes:
    """The pieces as octets, every hole filled."""
    return b"".join([piece if isinstance(piece, bytes) else mint(piece) for piece in pieces])


def splice(octets: bytes, edits: Iterable[Edit]) -> bytes:
    """The octets with the edits made.

    Edits stand in order and do not overlap, else ValueError: that is a surgeon's fault, never the mail's.
    Several insertions at one place are made in the order given.
    """
    out: list[bytes] = []
    at = 0
    view = memoryview(octets)
    for edit in edits:
        if not at <= edit.start <= edit.end <= len(octets):
            raise ValueError(f"edit {edit.start}:{edit.end} ({edit.why}) overlaps or lies outside")
        out.append(bytes(view[at : edit.start]))
        out.append(edit.new)
        at = edit.end
    out.append(bytes(view[at:]))
    return b"".join(out)
