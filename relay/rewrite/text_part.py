"""A text leaf, opened and closed: from encoded octets to decoded ones, and drafts the other way.

In: a part.  Out: a Leaf whose `text` can be searched, or the reason why it cannot be read without doubt;
and from drafts in its decoded offsets, drafts in the message's.
"""

import re
from typing import NamedTuple

from relay.mime import charset, transfer_encoding
from relay.mime.parts import TRANSPARENT, Part
from relay.rewrite.edit_templates import Coding, Draft

LARGEST = 8_000_000  # octets; no reader shows such a text in full


class Base64(NamedTuple):
    """Where in the part's body the base64 lines lie, and how long they are."""

    start: int = 0
    end: int = 0
    width: int = 0


class Leaf(NamedTuple):
    """A leaf that can be edited."""

    part: Part
    text: transfer_encoding.Text
    masked: bytes  # for the tokenizer: what only looks like ASCII is masked
    codec: str
    coding: Coding
    base64: Base64

    @property
    def octets(self) -> bytes:
        return self.text.octets


def open_leaf(octets: bytes, part: Part) -> Leaf | str:
    """The leaf, or a reason."""
    if part.body >= part.end:  # perhaps not even a blank line after the header
        return "empty"
    if part.end - part.body > LARGEST:
        return "too_large"
    decoded = decode(octets, part)
    if decoded is None:
        return "base64" if part.encoding == "base64" else f"encoding:{_word(part.encoding) or 'none'}"
    how, text, base64 = decoded
    label = part.parameters.get("charset", "")
    codec = charset.codec(label, text.octets)
    masked = charset.masked(text.octets, codec) if codec else None
    if codec is None or masked is None:
        return f"charset:{_word(label) or 'none'}"
    if b"\x00" in text.octets:  # every parser has its own way with NUL
        return "nul"
    return Leaf(part, text, masked, codec, how, base64)


def _word(name: str) -> str:
    return re.sub(r"[^a-z0-9._-]", "?", name.lower()[:40])


def decode(octets: bytes, part: Part) -> tuple[Coding, transfer_encoding.Text, Base64] | None:
    """How the part is encoded, its decoded text, and its base64 lines; None if that is in doubt."""
    encoded = octets[part.body : part.end]
    if part.encoding in TRANSPARENT:
        return Coding.PLAIN, transfer_encoding.from_identity(encoded), Base64()
    if part.encoding == "quoted-printable":
        return Coding.QUOTED_PRINTABLE, transfer_encoding.from_quoted_printable(encoded), Base64()
    found = transfer_encoding.from_base64(encoded) if part.encoding == "base64" else None
    if not found:
        return None
    text, start, end = found
    return (
        Coding.BASE64,
        transfer_encoding.from_identity(text),
        Base64(start, end, transfer_encoding.base64_width(encoded[start:end])),
    )


def close(leaf: Leaf, drafts: list[Draft]) -> list[Draft]:
    """Drafts in the message's offsets for drafts, in order, in the leaf's decoded ones."""
    if not drafts:
        return []
    base = leaf.part.body
    if leaf.coding is Coding.BASE64:
        start, end, width = leaf.base64
        return [Draft(base + start, base + end, (), "body", Coding.BASE64, width, tuple(drafts))]
    placed = []
    for draft in drafts:
        start = leaf.text.start(draft.start)
        end = start if draft.start == draft.end else leaf.text.end(draft.end)
        placed.append(Draft(base + start, base + end, draft.pieces, draft.why, leaf.coding))
    return placed
