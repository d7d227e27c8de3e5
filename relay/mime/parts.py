"""The parts of a MIME message and where each one lies.

In: a message's octets, CRLF-ended.  Out: its parts in document order, each with spans into those octets;
nothing is decoded or copied.  A part that two readers could read differently, or that is not ours to
change, is sealed, with the reason.  RFC 2045, RFC 2046 §5.1, RFC 2387.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from relay.mime import content_type, fields

MAX_DEPTH = 100
WINDOW = 1 << 16  # octets that are searched at a time
MAX_PARTS = 1000
_MAX_DELIMITERS = 10_000
_TAIL = re.compile(rb"(--)?[ \t]*(?:\r?\n|\Z)")
_ONCE = (b"content-type", b"content-transfer-encoding", b"content-disposition")
TRANSPARENT = ("7bit", "8bit", "binary")
_SEALED_TYPES = {
    "multipart/signed": "signed",
    "multipart/encrypted": "encrypted",
    "multipart/report": "report",
    "application/pkcs7-mime": "pkcs7",
    "application/x-pkcs7-mime": "pkcs7",
}
ROOT = -1


class Part(NamedTuple):
    """A part: `octets[start:end]` is header and body, `octets[body:end]` the body."""

    start: int
    body: int
    end: int
    parent: int  # its index in the list of parts; ROOT for the message itself
    head: fields.Head
    type: str  # "text/html"; "" where the field cannot be read
    parameters: Mapping[str, str]
    encoding: str  # lower case; "" where the field cannot be read
    is_file: bool  # an attachment, not a body
    sealed: str = ""  # why nothing inside may change; its own reason or its parent's


class _Split(NamedTuple):
    spans: list[tuple[int, int]]
    delimiters: list[int]  # offsets of the lines that part them
    near_delimiters: list[int]  # offsets of lines that begin like a delimiter and continue otherwise
    sealed: str


def walk_parts(octets: bytes, head: fields.Head | None = None) -> list[Part]:
    """The message and the parts reached through its multiparts, parents before children, in document order.

    A sealed part has no children in the list. Linear in size × depth, and without recursion. `head`: the message's
    header section, where it is read already.
    """
    parts: list[Part] = []
    delimiters: set[int] = set()
    near: dict[int, list[int]] = {}
    waiting = [(0, len(octets), ROOT, 0, False)]
    while waiting:
        start, end, parent, depth, is_first = waiting.pop()
        of_part = head if head and parent == ROOT else fields.parse_head(octets, start, end)
        part = _make_part(start, end, parent, parts, of_part, octets, is_root=is_first)
        index = len(parts)
        children: list[tuple[int, int]] = []
        if part.type.startswith("multipart/") and not part.sealed:
            split = _split_parts(octets, part, depth, len(parts) + len(waiting))
            children = split.spans
            delimiters.update(split.delimiters)
            if split.near_delimiters:
                near[index] = split.near_delimiters
            part = part._replace(sealed=split.sealed)
        parts.append(part)
        if not children and not waiting:
            break
        waiting += [(*span, index, depth + 1, n == 0) for n, span in reversed(list(enumerate(children)))]
    for index, offsets in near.items():
        # RFC 2046 §5.1.1 lets a reader compare beginnings only. That is harmless where the line parts an
        # inner multipart; elsewhere such a reader sees another tree.
        if not parts[index].sealed and not delimiters.issuperset(offsets):
            parts[index] = parts[index]._replace(sealed="ambiguous_boundary")
    for index, part in enumerate(parts):
        if part.parent != ROOT and parts[part.parent].sealed:
            parts[index] = part._replace(sealed=parts[part.parent].sealed)
    return parts


def _make_part(
    start: int, end: int, parent: int, parts: list[Part], head: fields.Head, octets: bytes, *, is_root: bool
) -> Part:
    """The part in that span, from its header alone."""
    above = parts[parent] if parent != ROOT else None
    by_name = head.by_name
    values = {
        name: [fields.unfold_value(octets, field) for field in by_name[name]] for name in _ONCE if name in by_name
    }
    type_, parameters, sealed = _read_type(values.get(b"content-type"), above)
    encodings = values.get(b"content-transfer-encoding")
    encoding = (content_type.parse_transfer_encoding(encodings[0]) or "") if encodings else "7bit"
    if head.is_malformed:
        sealed = sealed or "malformed_header"
    for name, given in values.items():
        if len(given) > 1:
            sealed = sealed or f"duplicate_{name.decode().replace('-', '_')}"
    if above and "start" in above.parameters:  # RFC 2387 §3.2
        ids = [fields.unfold_value(octets, field) for field in head.fields_named(b"content-id")]
        is_root = ids == [above.parameters["start"].encode("latin-1")]
    is_file = _is_file(values.get(b"content-disposition"), parameters, above, is_root)
    return Part(start, head.body, end, parent, head, type_, parameters, encoding, is_file, sealed)


def _read_type(values: list[bytes] | None, parent: Part | None) -> tuple[str, Mapping[str, str], str]:
    """Type, parameters, and why it is sealed, if it is."""
    if not values:  # RFC 2046 §5.1.5 for digests, RFC 2045 §5.2 else
        return ("message/rfc822" if parent and parent.type == "multipart/digest" else "text/plain"), {}, ""
    found = content_type.parse_content_type(values[0])
    if found:
        return found.name, found.parameters, _SEALED_TYPES.get(found.name, "")
    # Unquoted file names with spaces are common; only what may hold HTML is worth a word.
    might_matter = re.search(rb"html|multipart|message", values[0], re.IGNORECASE)
    return "", {}, "content_type" if might_matter or not parent else ""


def _is_file(values: list[bytes] | None, parameters: Mapping[str, str], parent: Part | None, is_root: bool) -> bool:
    """True for a part that mail programs offer as a file instead of showing it as text.

    RFC 2183 §2.8: an unknown disposition is an attachment. A name alone makes a file too, except where
    the part must be a body: alone, among alternatives, or as the root of multipart/related.
    """
    found = content_type.parse_disposition(values[0]) if values else None
    if values and (found is None or found.name != "inline"):
        return True
    if parent is None or parent.type == "multipart/alternative":
        return False
    if parent.type == "multipart/related":
        return not is_root
    return "name" in parameters or bool(found and "filename" in found.parameters)


def _split_parts(octets: bytes, part: Part, depth: int, count: int) -> _Split:
    """The spans between the delimiter lines of a multipart."""
    boundary = part.parameters.get("boundary", "").encode("latin-1")
    # RFC 2046 §5.1.1 allows 70 characters; more are seen, and everybody takes them.
    if not 0 < len(boundary) <= 250 or boundary != boundary.strip() or b"\n" in boundary or b"\r" in boundary:
        return _Split([], [], [], "boundary")
    if depth >= MAX_DEPTH:
        return _Split([], [], [], "too_deep")
    # The message's own multipart may end with the message, and is read alike; an inner one might take in too much.
    split = _scan_delimiters(octets, part.body, part.end, b"--" + boundary, may_stay_open=part.parent == ROOT)
    if split.sealed or len(split.spans) + count <= MAX_PARTS:
        return split
    return _Split([], [], [], "too_many_parts")


def _scan_delimiters(octets: bytes, start: int, end: int, mark: bytes, *, may_stay_open: bool) -> _Split:
    spans: list[tuple[int, int]] = []
    delimiters: list[int] = []
    near: list[int] = []
    begun = -1  # where the part before the next delimiter began
    is_closed = False
    for at in _lines_beginning(octets, start, end, mark):
        tail = _TAIL.match(octets, at + len(mark), end)
        if len(delimiters) + len(near) > _MAX_DELIMITERS:
            return _Split([], [], [], "too_many_parts")
        if not tail:
            near.append(at)
        elif is_closed:
            return _Split([], [], [], "ambiguous_boundary")
        else:
            delimiters.append(at)
            if begun >= 0:
                spans.append((begun, max(begun, _before_line_end(octets, at))))
            begun = tail.end()
            is_closed = bool(tail[1])
    if begun >= 0 and not is_closed and may_stay_open:
        return _Split([*spans, (begun, end)], delimiters, near, "")
    if not is_closed:
        return _Split([], [], [], "missing_final_boundary" if delimiters else "missing_boundary")
    return _Split(spans, delimiters, near, "")


def _lines_beginning(octets: bytes, start: int, end: int, mark: bytes) -> Iterator[int]:
    if octets.startswith(mark, start, end):
        yield start
    found = b"\n" + mark
    for window in range(start, end, WINDOW):
        # A find through 25 MB would hold the interpreter for as long, and the event loop waits for it.
        at, stop = window, min(end, window + WINDOW + len(mark))
        if octets.find(b"-", at, stop) < 0:
            continue  # base64: a single octet is found twenty times as fast
        while at := octets.find(found, at, stop) + 1:
            yield at


def _before_line_end(octets: bytes, at: int) -> int:
    # RFC 2046 §5.1.1: the line end before a delimiter belongs to it, not to the part.
    if octets[at - 2 : at] == b"\r\n":
        return at - 2
    return at - 1 if octets[at - 1 : at] == b"\n" else at
