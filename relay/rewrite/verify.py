"""The second look: does the edited message still say the same? (docs/rewriting.md#the-second-look)

In: the octets, their parts, and all templates.  Out: yes or no. It is made once for each plan, with URLs of
the greatest length, and guards against faults of ours in every other module.
"""

from collections.abc import Mapping

from relay import edits
from relay.mime import parts, transfer_encoding
from relay.mime.parts import ROOT, TRANSPARENT, Part
from relay.rewrite import edit_templates
from relay.rewrite.edit_templates import EditTemplate, TransferEncoding
from relay.rewrite.text_part import EditedPart


def plan_is_sound(
    octets: bytes,
    tree: list[Part],
    templates: tuple[EditTemplate, ...],
    edited_parts: Mapping[int, EditedPart],
    public_url: str,
    decoded: dict[int, bytes],
) -> bool:
    """True if the edited message has the same parts, the edited leaves decode to their spliced text, all
    others are identical, and there are no more lines over 998 octets than before, or no more octets in them."""

    mint = edit_templates.longest_urls(public_url)
    result = edits.splice(octets, edit_templates.fill_templates(octets, templates, mint, decoded=decoded))
    after = parts.walk_parts(result)
    if len(after) != len(tree):
        return False
    parents = {part.parent for part in tree}
    for index, (old, new) in enumerate(zip(tree, after, strict=True)):
        if (old.type, old.parent, old.sealed, old.encoding) != (new.type, new.parent, new.sealed, new.encoding):
            return False
        if old.parent != ROOT and octets[old.start : old.body] != result[new.start : new.body]:
            return False
        if inner := edited_parts.get(index):
            if not _decodes_to(result, new, inner.longest_text):
                return False
            may_be_long = inner.has_long_line or inner.leaf.coding is not TransferEncoding.PLAIN
            if may_be_long and _has_more_long_lines(octets, old, result, new):
                return False
        elif index not in parents and octets[old.body : old.end] != result[new.body : new.end]:
            return False
    return True


def _decodes_to(octets: bytes, part: Part, text: bytes) -> bool:
    encoded = octets[part.body : part.end]
    if part.encoding == "base64":
        return transfer_encoding.is_base64_of(encoded, text)
    if part.encoding == "quoted-printable":
        return transfer_encoding.from_quoted_printable(encoded).octets == text
    return part.encoding in TRANSPARENT and encoded == text


def _has_more_long_lines(octets: bytes, old: Part, result: bytes, new: Part) -> bool:
    if not transfer_encoding.has_long_line(result, new.body, new.end):
        return False
    count, excess = _long_lines(result[new.body : new.end])
    count_before, excess_before = _long_lines(octets[old.body : old.end])
    return count > count_before and excess > excess_before


def _long_lines(octets: bytes) -> tuple[int, int]:
    """How many lines are too long, and by how much together: a line broken in two can still be two of them."""
    over = [len(line) - transfer_encoding.MAX_LINE for line in octets.split(b"\r\n")]
    over = [excess for excess in over if excess > 0]
    return len(over), sum(over)
