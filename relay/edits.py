"""The main idea of the rewriting: what a recipient gets is the original octets and a list of edits.

The modules of `relay.rewrite` return `Edit`s: half-open spans of octets, with the octets that replace them. Only
`splice` makes the result. A place that differs by recipient is a `Hole` in an edit until the mail is rendered.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

# Stands before a destination that is stored. No tracked link has this scheme, and no redirect goes to it.
STORED_PREFIX = b"stored:"


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
    def stored_url(self) -> bytes:
        """The destination that the token only refers to, too long for a URL; empty where there is none."""
        return self.url[len(STORED_PREFIX) :] if self.url.startswith(STORED_PREFIX) else b""


Piece = bytes | Hole
# The URL that fills a hole, for one recipient: printable ASCII without & " ' < > = or space.
Mint = Callable[[Hole], bytes]


class Edit(NamedTuple):
    """`octets[start:end]` becomes `new`."""

    start: int
    end: int
    new: bytes
    why: str


def fill(pieces: Sequence[Piece], mint: Mint) -> bytes:
    """The pieces as octets, every hole filled."""
    if len(pieces) == 1:
        return pieces[0] if isinstance(pieces[0], bytes) else mint(pieces[0])
    return b"".join([piece if isinstance(piece, bytes) else mint(piece) for piece in pieces])


def splice(octets: bytes, edits: Iterable[Edit]) -> bytes:
    """The octets with the edits made.

    Edits stand in order and do not overlap, else ValueError: that is an error of the rewriter, never of the mail.
    Several insertions at one place are made in the order given.
    """
    out: list[bytes] = []
    at = 0
    size = len(octets)
    for start, end, new, why in edits:
        if not at <= start <= end <= size:
            raise ValueError(f"edit {start}:{end} ({why}) overlaps or lies outside")
        out += (octets[at:start], new)
        at = end
    out.append(octets[at:])
    return b"".join(out)
