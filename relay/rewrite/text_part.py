"""A text leaf, opened and closed: from encoded octets to decoded ones, and templates the other way.

In: a part.  Out: a TextPart whose `text` can be searched, or the reason why it cannot be read without doubt;
and from templates in its decoded offsets, templates in the message's.
"""

import re
from typing import NamedTuple

from relay import edits
from relay.mime import charset, transfer_encoding
from relay.mime.parts import TRANSPARENT, Part
from relay.rewrite import edit_templates
from relay.rewrite.edit_templates import EditTemplate, TransferEncoding

MAX_OCTETS = 8_000_000  # octets; no reader shows such a text in full


class Base64Lines(NamedTuple):
    """Where in the part's body the base64 lines lie, and how long they are."""

    start: int = 0
    end: int = 0
    width: int = 0


class TextPart(NamedTuple):
    """A leaf that can be edited."""

    part: Part
    text: transfer_encoding.DecodedText
    masked: bytes  # for the tokenizer: what only looks like ASCII is masked
    codec: str
    coding: TransferEncoding
    base64: Base64Lines

    @property
    def octets(self) -> bytes:
        return self.text.octets


class EditedPart(NamedTuple):
    """A leaf and what is done to it, in its decoded offsets and in order."""

    leaf: TextPart
    templates: tuple[EditTemplate, ...]
    longest_text: bytes  # what the text becomes where each URL is as long as it can be
    has_long_line: bool  # whether that has a line of over 998 octets; False in an encoding that breaks lines itself


def edit_part(leaf: TextPart, templates: list[EditTemplate], public_url: str) -> EditedPart:
    made = tuple(templates)
    filled = edit_templates.fill_templates(leaf.octets, made, edit_templates.longest_urls(public_url))
    longest = edits.splice(leaf.octets, filled)
    is_plain = leaf.coding is TransferEncoding.PLAIN
    return EditedPart(leaf, made, longest, is_plain and transfer_encoding.has_long_line(longest, 0, len(longest)))


def decode_part(octets: bytes, part: Part) -> TextPart | str:
    """The leaf, or a reason."""
    if part.body >= part.end:  # perhaps not even a blank line after the header
        return "empty"
    if part.end - part.body > MAX_OCTETS:
        return "too_large"
    decoded = decode_body(octets, part)
    if decoded is None:
        return "base64" if part.encoding == "base64" else f"encoding:{_word(part.encoding) or 'none'}"
    how, text, base64 = decoded
    label = part.parameters.get("charset", "")
    codec = charset.find_codec(label, text.octets)
    masked = charset.mask(text.octets, codec) if codec else None
    if codec is None or masked is None:
        return f"charset:{_word(label) or 'none'}"
    if b"\x00" in text.octets:  # every parser has its own way with NUL
        return "nul"
    return TextPart(part, text, masked, codec, how, base64)


def _word(name: str) -> str:
    return re.sub(r"[^a-z0-9._-]", "?", name.lower()[:40])


def decode_body(
    octets: bytes, part: Part
) -> tuple[TransferEncoding, transfer_encoding.DecodedText, Base64Lines] | None:
    """How the part is encoded, its decoded text, and its base64 lines; None if that is in doubt."""
    encoded = octets[part.body : part.end]
    if part.encoding in TRANSPARENT:
        return TransferEncoding.PLAIN, transfer_encoding.from_identity(encoded), Base64Lines()
    if part.encoding == "quoted-printable":
        return TransferEncoding.QUOTED_PRINTABLE, transfer_encoding.from_quoted_printable(encoded), Base64Lines()
    found = transfer_encoding.from_base64(encoded) if part.encoding == "base64" else None
    if not found:
        return None
    text, start, end = found
    return (
        TransferEncoding.BASE64,
        transfer_encoding.from_identity(text),
        Base64Lines(start, end, transfer_encoding.base64_width(encoded[start:end])),
    )


def to_message_offsets(edited_part: EditedPart) -> list[EditTemplate]:
    """The part's templates in the message's offsets, in order."""
    leaf, templates = edited_part.leaf, edited_part.templates
    base = leaf.part.body
    if leaf.coding is TransferEncoding.PLAIN:
        make = edit_templates.new_template
        return [make((base + start, base + end, *rest)) for start, end, *rest in templates]
    if leaf.coding is TransferEncoding.BASE64:
        start, end, width = leaf.base64
        return [EditTemplate(base + start, base + end, (), "body", TransferEncoding.BASE64, width, templates)]
    placed = []
    for template in templates:
        start = leaf.text.start(template.start)
        end = start if template.start == template.end else leaf.text.end(template.end)
        placed.append(EditTemplate(base + start, base + end, template.pieces, template.why, leaf.coding))
    return placed
