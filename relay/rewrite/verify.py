"""The second look: does the edited message still say the same? (docs/rewriting.md#the-second-look)

In: the octets, their parts, and all templates.  Out: yes or no. It is made once for each plan, with URLs of
the greatest length, and guards against faults of ours in every other module.
"""

from functools import cache

from relay import edits
from relay.mime import parts, transfer_encoding
from relay.mime.parts import ROOT, Part
from relay.rewrite import edit_templates, text_part
from relay.rewrite.edit_templates import EditTemplate


def plan_is_sound(
    octets: bytes,
    before: list[Part],
    made: tuple[EditTemplate, ...],
    edited: dict[int, list[EditTemplate]],
    public_url: str,
) -> bool:
    """True if the edited message has the same parts, the edited leaves decode to their spliced text, all
    others are identical, and there are no more lines over 998 octets than before, or no more octets in them."""

    @cache
    def mint(hole: edits.Hole) -> bytes:
        url = f"{public_url}/{hole.kind}/".encode()
        return url + b"A" * (edit_templates.max_url_octets(public_url, hole) - len(url))

    result = edits.splice(octets, edit_templates.fill_templates(octets, made, mint))
    after = parts.walk_parts(result)
    if len(after) != len(before):
        return False
    parents = {part.parent for part in before}
    for index, (old, new) in enumerate(zip(before, after, strict=True)):
        if (old.type, old.parent, old.sealed, old.encoding) != (new.type, new.parent, new.sealed, new.encoding):
            return False
        if old.parent != ROOT and octets[old.start : old.body] != result[new.start : new.body]:
            return False
        if edited.get(index):
            if not _is_spliced(octets, old, result, new, edited[index], mint):
                return False
        elif index not in parents and octets[old.body : old.end] != result[new.body : new.end]:
            return False
    return True


def _is_spliced(
    octets: bytes, old: Part, result: bytes, new: Part, inner: list[EditTemplate], mint: edits.Mint
) -> bool:
    source, outcome = text_part.decode_body(octets, old), text_part.decode_body(result, new)
    if source is None or outcome is None:
        return False
    text = source[1].octets
    if outcome[1].octets != edits.splice(text, edit_templates.fill_templates(text, tuple(inner), mint)):
        return False
    count, excess = _long_lines(result[new.body : new.end])
    if not count:
        return True
    count_before, excess_before = _long_lines(octets[old.body : old.end])
    return count <= count_before or excess <= excess_before


def _long_lines(octets: bytes) -> tuple[int, int]:
    """How many lines are too long, and by how much together: a line broken in two can still be two of them."""
    lengths = [*map(len, octets.split(b"\r\n"))]
    if max(lengths) <= transfer_encoding.MAX_LINE:
        return 0, 0
    over = [length - transfer_encoding.MAX_LINE for length in lengths if length > transfer_encoding.MAX_LINE]
    return len(over), sum(over)
