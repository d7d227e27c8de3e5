"""Reads the parts of a mail for the pages that show it: names, and octets without their transfer encoding.

In: any octets, CRLF-ended.  Out: the mail's fields, and its leaves in order. What breaks RFC 2045 is read as it stands,
because a page only shows it. What is edited is read by `relay.mime.parts`.

Not `email` of the standard library: a message in 1,500 messages is a RecursionError there, and takes time by its size
times its depth. Here both are bounded, and a message within is one part.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from relay.mime import charset_names, content_type, encoded_words, fields, transfer_encoding

MAX_DEPTH = 30
MAX_PARTS = 500
MAX_FIELDS = 1000
_MAX_FIELD = 20_000  # octets
_BARE_TYPE = re.compile(r"\s*+([\w.+-]++/[\w.+-]++)", re.ASCII)


class LeafPart(NamedTuple):
    """A part without parts."""

    type: str  # in lower case
    charset: str
    name: str  # a file's; "" where it has none
    content_id: str  # without brackets
    is_attached: bool
    encoding: str
    body: bytes

    def octets(self, max_octets: int) -> bytes:
        """The part decoded, that many of its encoded octets at most."""
        return transfer_encoding.decode_loosely(self.body[:max_octets], self.encoding)

    @property
    def size_octets(self) -> int:
        """Decoded; of base64 by its length."""
        return len(self.body) * 3 // 4 if self.encoding == "base64" else len(self.body)

    def text(self, max_octets: int) -> str:
        """The part as text. Never fails."""
        return charset_names.decode(self.octets(max_octets), self.charset)


def read_fields(octets: bytes) -> list[tuple[str, str]]:
    """The message's fields in order, unfolded and decoded; the first thousand."""
    head = fields.parse_head(octets, 0, len(octets))
    return [
        (_field_name(octets, field), decode_readable(fields.unfold_value(octets, field)[:_MAX_FIELD]))
        for field in head.fields[:MAX_FIELDS]
    ]


def walk_leaves(octets: bytes) -> Iterator[LeafPart]:
    """The parts that have no parts, in order. A part at a depth of MAX_DEPTH is not taken apart."""
    waiting, count = [(0, len(octets), 0)], 0
    while waiting and count < MAX_PARTS:
        start, end, depth = waiting.pop()
        count += 1
        head = fields.parse_head(octets, start, end)
        type_, parameters = _read_content_type(_first_value(octets, head, b"content-type"))
        boundary = parameters.get("boundary", "") if type_.startswith("multipart/") and depth < MAX_DEPTH else ""
        children = (
            _split_multipart(octets, head.body, end, boundary.rstrip().encode("latin-1", "replace")) if boundary else []
        )
        if children:
            waiting += [(*span, depth + 1) for span in reversed(children[:MAX_PARTS])]
        else:
            yield _read_leaf(octets, head, end, type_, parameters)


def decode_readable(value: bytes) -> str:
    """A field's value with its encoded words decoded, without lone surrogates, which no page can contain."""
    return encoded_words.decode_words(value).encode("utf-8", "replace").decode()


def _read_leaf(octets: bytes, head: fields.Head, end: int, type_: str, parameters: dict[str, str]) -> LeafPart:
    value = _first_value(octets, head, b"content-disposition")
    disposition = content_type.parse_disposition(value)
    word = disposition.name if disposition else value.partition(b";")[0].strip().lower().decode("latin-1")
    name = (disposition.parameters.get("filename", "") if disposition else "") or parameters.get("name", "")
    return LeafPart(
        type_,
        parameters.get("charset", ""),
        decode_readable(name.encode("latin-1", "replace")),
        _first_value(octets, head, b"content-id").strip(b"<> \t").decode("latin-1"),
        word == "attachment",
        _first_value(octets, head, b"content-transfer-encoding").strip(b' ;"').lower().decode("latin-1"),
        octets[head.body : end],
    )


def _read_content_type(value: bytes) -> tuple[str, dict[str, str]]:
    found = content_type.parse_content_type(value[:_MAX_FIELD])
    if found:
        return found.name, dict(found.parameters)
    word = _BARE_TYPE.match(value[:200].decode("latin-1"))  # parameters that nobody can read
    return (word[1].lower() if word else "text/plain"), {}


def _first_value(octets: bytes, head: fields.Head, name: bytes) -> bytes:
    found = head.fields_named(name)
    return fields.unfold_value(octets, found[0]) if found else b""


def _field_name(octets: bytes, field: fields.Field) -> str:
    return octets[field.start : field.start + len(field.name)].decode("ascii")


def _split_multipart(octets: bytes, start: int, end: int, boundary: bytes) -> list[tuple[int, int]]:
    """The spans between the delimiter lines of a multipart; the last one may be left open. RFC 2046 §5.1.1."""
    delimiter = re.compile(re.escape(b"--" + boundary) + rb"(--)?+[ \t]*+(?:\r?\n|\Z)")
    spans, begun = [], -1
    for found in delimiter.finditer(octets, start, end):
        if found.start() > start and octets[found.start() - 1] != ord("\n"):
            continue
        if begun >= 0:
            spans.append((begun, max(begun, found.start() - len(b"\r\n"))))
        begun = found.end()
        if found[1] or len(spans) > MAX_PARTS:
            return spans
    return [*spans, (begun, end)] if begun >= 0 else []
