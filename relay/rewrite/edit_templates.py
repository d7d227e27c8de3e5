"""Edits with holes, as data: what a plan keeps, and how it becomes edits for one recipient.

In: the accepted octets, templates and a mint.  Out: `edits.Edit`s.  The transfer encoding is applied here, for
only now is the length of a URL known.  A template can be written as JSON and read back, so that a retry after
a restart gives the same octets.
"""

from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

from relay import edits, tokens
from relay.mime import transfer_encoding

TRACKING_REASONS = frozenset({"click", "pixel", "line"})  # what a recipient who is not to be tracked does not get
_NEAR = 2 * transfer_encoding.QP_LINE  # lines longer than this are all alike to us


class TransferEncoding(StrEnum):
    """How the pieces are written into the leaf."""

    PLAIN = ""
    QUOTED_PRINTABLE = "qp"
    BASE64 = "base64"  # the span is a whole leaf, the inner templates count in its decoded octets


class EditTemplate(NamedTuple):
    """`octets[start:end]` becomes the pieces, once their holes are filled."""

    start: int
    end: int
    pieces: tuple[edits.Piece, ...]
    why: str
    coding: TransferEncoding = TransferEncoding.PLAIN
    width: int = 0  # of base64 lines
    inner: tuple["EditTemplate", ...] = ()

    @property
    def differs_by_recipient(self) -> bool:
        """True if the octets differ by recipient."""
        return any(isinstance(piece, edits.Hole) for piece in self.pieces) or any(
            d.differs_by_recipient for d in self.inner
        )


def fill_templates(
    octets: bytes,
    templates: tuple[EditTemplate, ...],
    mint: edits.Mint,
    *,
    tracked: bool = True,
    decoded: dict[int, bytes] | None = None,
) -> list[edits.Edit]:
    """The edits for one recipient, in order.

    `decoded` has what base64 leaves decode to, by where their templates start; what it lacks is put there.
    """
    decoded = {} if decoded is None else decoded
    kept = [template for template in templates if tracked or template.why not in TRACKING_REASONS]
    made: list[edits.Edit] = []
    past, column_past = -1, 0  # where the last edit ended, and the column there once it is made
    for n, template in enumerate(kept):
        if template.coding is TransferEncoding.BASE64:
            inner = tuple(d for d in template.inner if tracked or d.why not in TRACKING_REASONS)
            if inner:
                if template.start not in decoded:
                    decoded[template.start] = _decode_base64(octets, template)
                text = decoded[template.start]
                new = transfer_encoding.to_base64(edits.splice(text, fill_templates(text, inner, mint)), template.width)
                made.append(edits.Edit(template.start, template.end, new, template.why))
            continue
        new = edits.fill(template.pieces, mint)
        start = template.start
        if template.coding is TransferEncoding.QUOTED_PRINTABLE:
            begin = octets.rfind(b"\n", max(0, template.start - _NEAR), template.start) + 1
            column = template.start - (begin or max(0, template.start - _NEAR))
            if past >= begin:
                column = column_past + template.start - past
            after = kept[n + 1].start if n + 1 < len(kept) else len(octets)
            again = b""
            if new and column == transfer_encoding.QP_LINE and past < template.start - transfer_encoding.MAX_CODE:
                # No room for the soft break: the last octet before us goes to the next line with us.
                again = transfer_encoding.code_before(octets, template.start)
                start, column = start - len(again), column - len(again)
            new = transfer_encoding.to_quoted_printable(new, column, _tail(octets, template.end, after), again)
            past, column_past = template.end, _column(column, new)
        made.append(edits.Edit(start, template.end, new, template.why))
    return made


def _tail(octets: bytes, at: int, after: int) -> int:
    """How much stays on the line that goes on at `at`; `after` is where the next edit begins."""
    stop = octets.find(b"\n", at, at + _NEAR)
    stop = at + _NEAR if stop < 0 and len(octets) > at + _NEAR else stop
    stop = len(octets) if stop < 0 else stop
    if after <= stop:
        return after - at + 1  # room for the soft break that the next edit may begin with
    return stop - at - (octets[stop - 1 : stop] == b"\r" and stop > at)


def _column(column: int, new: bytes) -> int:
    line = new.rfind(b"\n")
    return column + len(new) if line < 0 else len(new) - line - 1


def _decode_base64(octets: bytes, template: EditTemplate) -> bytes:
    found = transfer_encoding.from_base64(octets[template.start : template.end])
    if found is None:
        raise ValueError("a template for base64 lies over something else")
    return found[0]


def max_url_octets(public_url: str, hole: edits.Hole) -> int:
    """How many octets the URL in this hole can take, not counting that deflate may make it shorter."""
    plain = _plain_url(public_url, bytes(tokens.REFERENCE_OCTETS) if hole.stored_url else hole.url)
    return (plain if plain < tokens.MAX_URL_OCTETS else tokens.MAX_URL_OCTETS) + 4  # ".gif"


def fits_in_url(public_url: str, url: bytes) -> bool:
    """True if the click URL for this destination is not too long."""
    # Deflate takes its time (30 µs), and decides only about long ones.
    is_short = _plain_url(public_url, url) <= tokens.MAX_URL_OCTETS
    return is_short or tokens.click_url_octets(public_url, url) <= tokens.MAX_URL_OCTETS


def click_hole(public_url: str, link: int, url: bytes) -> edits.Hole:
    """The hole of a tracked link."""
    return edits.Hole(edits.Kind.CLICK, link, url if fits_in_url(public_url, url) else edits.STORED_PREFIX + url)


def urls_to_store(templates: tuple[EditTemplate, ...]) -> list[bytes]:
    """The destinations that the templates' tokens only refer to, each once."""
    found: dict[bytes, None] = {}
    for template in templates:
        found |= dict.fromkeys(
            piece.stored_url for piece in template.pieces if isinstance(piece, edits.Hole) and piece.stored_url
        )
        found |= dict.fromkeys(urls_to_store(template.inner))
    return list(found)


def _plain_url(public_url: str, url: bytes) -> int:
    return _bare_url(public_url) + -(-4 * len(url) // 3)


@lru_cache(maxsize=16)
def _bare_url(public_url: str) -> int:
    return tokens.click_url_octets(public_url, b"") + 1


def to_data(template: EditTemplate) -> list[Any]:
    """The template as lists, numbers and strings, octets as Latin-1 text."""
    pieces = [
        piece.decode("latin-1") if isinstance(piece, bytes) else [piece.kind, piece.link, piece.url.decode("latin-1")]
        for piece in template.pieces
    ]
    inner = [to_data(d) for d in template.inner]
    return [template.start, template.end, pieces, template.why, template.coding, template.width, inner]


def from_data(data: list[Any]) -> EditTemplate:
    """The template that `to_data` wrote. `Any`: it comes from JSON."""
    start, end, pieces, why, how, width, inner = data
    return EditTemplate(
        start,
        end,
        tuple(
            piece.encode("latin-1")
            if isinstance(piece, str)
            else edits.Hole(edits.Kind(piece[0]), piece[1], piece[2].encode("latin-1"))
            for piece in pieces
        ),
        why,
        TransferEncoding(how),
        width,
        tuple(from_data(d) for d in inner),
    )
