"""A message for a server that takes 7 bits only (no 8BITMIME).

In: a message's octets, CRLF-ended.  Out: the same message with every leaf of 8 bits in quoted-printable or
base64, or NotConvertibleError. Decoded, each leaf is what it was. Header fields of 8 bits, which no transfer
encoding covers, stay as they are.  RFC 6152 §3, RFC 2045 §6; RFC 2046 §5.2 (message/rfc822 is not encoded itself).
"""

import re

from relay.edits import Edit, splice
from relay.mime import parts, transfer_encoding
from relay.mime.parts import ROOT, Part
from relay.rewrite import text_part

_MAX_DEPTH = 10  # messages in messages
_MESSAGES = ("message/rfc822", "message/global", "message/news")
_ABOVE_ASCII = bytes(range(0x80, 0x100))
_PIECE = 1 << 20
_HIGH = re.compile(rb"[\x80-\xff]+")


class NotConvertibleError(Exception):
    """Something in it must stay as it is, and is of 8 bits. It says what."""


def convert(octets: bytes) -> bytes:
    """The message in 7 bits, but for its header fields. Raises NotConvertibleError for a sealed part of 8 bits."""
    return _convert(octets, 0)


def _convert(octets: bytes, depth: int) -> bytes:
    if octets.isascii():
        return octets
    if depth > _MAX_DEPTH:
        raise NotConvertibleError("too deep")
    tree = parts.walk_parts(octets)
    parents = {part.parent for part in tree}
    edits: list[Edit] = []
    for index, part in enumerate(tree):
        if octets[part.body : part.end].isascii():
            continue
        if part.sealed:
            raise NotConvertibleError(part.sealed)
        if index in parents:
            edits += _convert_multipart(octets, part, [one for one in tree if one.parent == index])
        elif part.type in _MESSAGES and part.encoding in parts.TRANSPARENT:
            edits += _encoding(octets, part, "7bit") if part.encoding != "7bit" else []
            inner = _convert(octets[part.body : part.end], depth + 1)
            edits.append(Edit(part.body, part.end, inner, "7bit"))
        elif part.type.startswith(("message/", "multipart/")):
            raise NotConvertibleError(part.type)
        else:
            edits += _convert_leaf(octets, part)
    edits.sort(key=lambda edit: (edit.start, edit.end))
    result = splice(octets, edits)
    _verify(octets, tree, result)
    return result


def _convert_multipart(octets: bytes, part: Part, children: list[Part]) -> list[Edit]:
    """A multipart: its own encoding, and what stands beside its parts, which no reader shows (RFC 2046 §5.1.1)."""
    if not part.parameters["boundary"].isascii():
        raise NotConvertibleError("boundary")
    edits = _encoding(octets, part, "7bit") if part.encoding != "7bit" else []
    at = part.body
    for start, end in [*((child.start, child.end) for child in children), (part.end, part.end)]:
        edits += [
            Edit(at + found.start(), at + found.end(), b"?" * len(found[0]), "7bit")
            for found in _HIGH.finditer(octets[at:start])
        ]
        at = end
    return edits


def _convert_leaf(octets: bytes, part: Part) -> list[Edit]:
    decoded = text_part.decode_body(octets, part)
    if decoded is None:
        raise NotConvertibleError(f"encoding {part.encoding or 'unknown'}")
    text = decoded[1].octets
    high = sum(_high(text[at : at + _PIECE]) for at in range(0, len(text), _PIECE))
    # Whichever is shorter; text that can be read as it stands is worth a little.
    if part.type.startswith("text/") and high * 5 < len(text):
        return [
            *_encoding(octets, part, "quoted-printable"),
            Edit(part.body, part.end, _to_quoted_printable(text), "7bit"),
        ]
    code = transfer_encoding.to_base64(text, transfer_encoding.BASE64_LINE) + (b"\r\n" if part.parent == ROOT else b"")
    return [*_encoding(octets, part, "base64"), Edit(part.body, part.end, code, "7bit")]


def _high(piece: bytes) -> int:
    """How many octets are above ASCII. A regular expression over 25 MB would keep all other threads waiting."""
    return len(piece) - len(piece.translate(None, _ABOVE_ASCII))


def _to_quoted_printable(text: bytes) -> bytes:
    lines = []
    for line in text.split(b"\r\n"):
        code = transfer_encoding.to_quoted_printable(line, 0, 0)
        if code.endswith(b" "):  # RFC 2045 §6.7 rule 3
            # One more soft break may be due: the code is two octets longer than the space.
            start = code.rfind(b"\n") + 1
            is_full = len(code) + 2 - start > transfer_encoding.QP_LINE
            code = code[:-1] + (b"=\r\n=20" if is_full else b"=20")
        lines.append(code)
    return b"\r\n".join(lines)


def _encoding(octets: bytes, part: Part, name: str) -> list[Edit]:
    """The part's Content-Transfer-Encoding, changed or added."""
    for field in part.head.fields_named(b"content-transfer-encoding"):
        return [Edit(field.value, field.end, f" {name}\r\n".encode("ascii"), "7bit")]
    at = part.head.fields[-1].end if part.head.fields else part.start
    new = b"Content-Transfer-Encoding: " + name.encode("ascii") + b"\r\n"
    if part.parent == ROOT and not part.head.fields_named(b"mime-version"):  # RFC 2045 §4: else it means nothing
        new += b"MIME-Version: 1.0\r\n"
    return [Edit(at, at, new, "7bit")]


def _verify(octets: bytes, before: list[Part], result: bytes) -> None:
    """Looks a second time: the same parts, and each leaf decodes to the same octets."""
    after = parts.walk_parts(result)
    parents = {part.parent for part in before}
    is_same = len(after) == len(before)
    for index, (old, new) in enumerate(zip(before, after, strict=False)):
        is_same = is_same and (old.type, old.parent, old.sealed) == (new.type, new.parent, new.sealed)
        if index not in parents and old.type not in _MESSAGES and not old.sealed:
            source, outcome = text_part.decode_body(octets, old), text_part.decode_body(result, new)
            if source is not None:
                is_same = is_same and outcome is not None and source[1].octets == outcome[1].octets
            is_same = is_same and result[new.body : new.end].isascii()
    if not is_same:
        raise NotConvertibleError("verification")
