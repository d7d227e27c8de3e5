"""Edits with holes, as data: a plan stores them and makes edits for one recipient of them.

In: the accepted octets, templates and a mint.  Out: `edits.Edit`s.  The transfer encoding is applied here, for
only now is the length of a URL known.  A template can be written as JSON and read back, so that a retry after
a restart gives the same octets.
"""

from enum import StrEnum
from functools import lru_cache, partial
from typing import Any, NamedTuple

from relay import edits, tokens
from relay.mime import transfer_encoding

TRACKING_REASONS = frozenset({"click", "pixel", "line"})  # left out for a recipient who is not tracked
_NEAR = 2 * transfer_encoding.QP_LINE  # a column beyond this counts as this one


class TransferEncoding(StrEnum):
    """How the pieces are written into the leaf."""

    PLAIN = ""
    QUOTED_PRINTABLE = "qp"
    BASE64 = "base64"  # the span is a whole leaf, the inner templates count in its decoded octets


_BASE64, _QUOTED_PRINTABLE = TransferEncoding.BASE64, TransferEncoding.QUOTED_PRINTABLE
_edit = partial(tuple.__new__, edits.Edit)  # half the time that Edit(…) takes


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
        for piece in self.pieces:
            if type(piece) is edits.Hole:
                return True
        return any(d.differs_by_recipient for d in self.inner) if self.inner else False


new_template = partial(tuple.__new__, EditTemplate)  # of all seven, in half the time that EditTemplate(…) takes


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
    kept = templates if tracked else _leave_out_tracking(templates)
    made: list[edits.Edit] = []
    past, column_past = -1, 0  # where the last edit ended, and the column there once it is made
    for n, (start, end, pieces, why, coding, width, inner) in enumerate(kept, 1):
        if coding is _BASE64:
            if start not in decoded:
                decoded[start] = _decode_base64(octets, start, end)
            text = decoded[start]
            copy = edits.splice(text, fill_templates(text, inner, mint))
            made.append(_edit((start, end, transfer_encoding.to_base64(copy, width), why)))
            continue
        new = edits.fill(pieces, mint)
        if coding is _QUOTED_PRINTABLE:
            place = start
            begin = octets.rfind(b"\n", max(0, place - _NEAR), place) + 1
            column = place - (begin or max(0, place - _NEAR))
            if past >= begin:
                column = column_past + place - past
            after = kept[n].start if n < len(kept) else len(octets)
            again = b""
            if new and column == transfer_encoding.QP_LINE and past < place - transfer_encoding.MAX_CODE:
                # No room for the soft break: the last octet before the edit goes to the next line, too.
                again = transfer_encoding.code_before(octets, place)
                start, column = place - len(again), column - len(again)
            new = transfer_encoding.to_quoted_printable(new, column, _rest_of_line(octets, end, after), again)
            past, column_past = end, _column(column, new)
        made.append(_edit((start, end, new, why)))
    return made


def _leave_out_tracking(templates: tuple[EditTemplate, ...]) -> tuple[EditTemplate, ...]:
    """The templates for a recipient who is not tracked."""
    kept = [template for template in templates if template.why not in TRACKING_REASONS]
    kept = [
        template._replace(inner=_leave_out_tracking(template.inner)) if template.inner else template
        for template in kept
    ]
    return tuple(template for template in kept if template.inner or template.coding is not _BASE64)


def _rest_of_line(octets: bytes, at: int, after: int) -> int:
    """The length of the line's rest at `at`; `after` is where the next edit begins."""
    stop = octets.find(b"\n", at, at + _NEAR)
    stop = at + _NEAR if stop < 0 and len(octets) > at + _NEAR else stop
    stop = len(octets) if stop < 0 else stop
    if after <= stop:
        return after - at + 1  # room for the soft break that the next edit may begin with
    return stop - at - (octets[stop - 1 : stop] == b"\r" and stop > at)


def _column(column: int, new: bytes) -> int:
    line = new.rfind(b"\n")
    return column + len(new) if line < 0 else len(new) - line - 1


def _decode_base64(octets: bytes, start: int, end: int) -> bytes:
    found = transfer_encoding.from_base64(octets[start:end])
    if found is None:
        raise ValueError("a template for base64 lies over something else")
    return found[0]


def max_url_octets(public_url: str, hole: edits.Hole) -> int:
    """The largest length of the URL in this hole, in octets. Deflate may make it shorter."""
    return _max_url_octets(_base_octets(public_url), hole)


def _max_url_octets(base_octets: int, hole: edits.Hole) -> int:
    url = hole.url
    size = tokens.REFERENCE_OCTETS if url.startswith(edits.STORED_PREFIX) else len(url)
    plain = base_octets - (-4 * size // 3)
    return (plain if plain < tokens.MAX_URL_OCTETS else tokens.MAX_URL_OCTETS) + 4  # ".gif"


@lru_cache(maxsize=16)
def longest_urls(public_url: str) -> edits.Mint:
    """A mint that fills each hole with the longest URL that can come there."""
    urls = {kind: f"{public_url}/{kind}/".encode().ljust(tokens.MAX_URL_OCTETS + 4, b"A") for kind in edits.Kind}
    bare = _base_octets(public_url)
    return lambda hole: urls[hole.kind][: _max_url_octets(bare, hole)]


def fits_in_url(public_url: str, url: bytes) -> bool:
    """True if the click URL for this destination is not too long."""
    # Deflate takes its time (30 µs), and decides only about long ones.
    is_short = _base_octets(public_url) - (-4 * len(url) // 3) <= tokens.MAX_URL_OCTETS
    return is_short or tokens.click_url_octets(public_url, url) <= tokens.MAX_URL_OCTETS


def click_hole(public_url: str, link: int, url: bytes) -> edits.Hole:
    """The hole of a tracked link."""
    return edits.Hole(edits.Kind.CLICK, link, url if fits_in_url(public_url, url) else edits.STORED_PREFIX + url)


def urls_to_store(templates: tuple[EditTemplate, ...]) -> list[bytes]:
    """The destinations that the templates' tokens only refer to, each once."""
    found: dict[bytes, None] = {}
    for template in templates:
        for piece in template.pieces:
            if type(piece) is edits.Hole and piece.url and (url := piece.stored_url):
                found[url] = None
        if template.inner:
            found |= dict.fromkeys(urls_to_store(template.inner))
    return list(found)


@lru_cache(maxsize=16)
def _base_octets(public_url: str) -> int:
    return tokens.click_url_octets(public_url, b"") + 1


def to_data(template: EditTemplate) -> list[Any]:
    """The template as lists, numbers and strings, octets as Latin-1 text."""
    pieces = [
        piece.decode("latin-1") if isinstance(piece, bytes) else [piece.kind, piece.link, piece.url.decode("latin-1")]
        for piece in template.pieces
    ]
    inner = [to_data(d) for d in template.inner] if template.inner else []
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
