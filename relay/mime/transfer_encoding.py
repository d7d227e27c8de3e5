"""Content-Transfer-Encodings: reading a leaf with an offset map, and writing what is put into it.

In: a leaf's encoded octets.  Out: a Text, whose `start` and `end` take an offset in the decoded octets back
to the encoded ones; and `wrap` and `to_base64`, which encode what replaces a span.  RFC 2045 §6.7, §6.8.
"""

import binascii
import re
from bisect import bisect_right
from typing import NamedTuple

QP_LINE = 76  # RFC 2045 §6.7 rule 5
MAX_CODE = 3  # octets: =XX
BASE64_LINE = 76  # RFC 2045 §6.8
MAX_LINE = 998  # RFC 5322 §2.1.1
_ESCAPE = re.compile(rb"=(?:([0-9A-Fa-f]{2})|[ \t]*(?:\r?\n|\Z))")
_ENCODED = re.compile(rb"[^ -<>-~]")
_POOR_BEGINNINGS = b".-F"  # no line of ours begins like a lone dot, a delimiter or `From `
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")
_BASE64 = re.compile(rb"[A-Za-z0-9+/=][A-Za-z0-9+/=\r\n]*")


class DecodedText(NamedTuple):
    """A decoded leaf. `decoded_at[i]` and `encoded_at[i]` are where the i-th run of equal octets begins."""

    octets: bytes
    encoded: bytes
    decoded_at: list[int]
    encoded_at: list[int]

    def start(self, offset: int) -> int:
        """Where the encoded form of the octet at `offset` begins."""
        if offset >= len(self.octets):
            return self.end(offset)
        run = bisect_right(self.decoded_at, offset) - 1
        return self.encoded_at[run] + offset - self.decoded_at[run]

    def end(self, offset: int) -> int:
        """Where the encoded form of the octet before `offset` ends."""
        if offset == 0:
            return 0
        at = self.start(offset - 1)
        escape = _ESCAPE.match(self.encoded, at) if len(self.encoded_at) > 1 else None
        return escape.end() if escape and escape[1] else at + 1


def from_identity(encoded: bytes) -> DecodedText:
    """7bit, 8bit and binary: the octets themselves."""
    return DecodedText(encoded, encoded, [0], [0])


def from_quoted_printable(encoded: bytes) -> DecodedText:
    """The decoded leaf. An `=` that begins no escape stands for itself, as in every reader."""
    out: list[bytes] = []
    decoded_at, encoded_at = [0], [0]
    at = offset = 0
    for escape in _ESCAPE.finditer(encoded):
        start, stop = escape.span()
        out.append(encoded[at:start])
        offset += start - at
        if escape[1]:
            out.append(bytes.fromhex(escape[1].decode("ascii")))
            offset += 1
        at = stop
        decoded_at.append(offset)
        encoded_at.append(at)
    out.append(encoded[at:])
    return DecodedText(b"".join(out), encoded, decoded_at, encoded_at)


def from_base64(encoded: bytes) -> tuple[bytes, int, int] | None:
    """The decoded leaf and the span of its base64 lines; None unless every reader decodes it alike.

    RFC 2045 §6.8 wants octets outside the alphabet ignored; what follows padding, readers treat in four ways.
    """
    found = _BASE64.search(encoded)
    if not found:
        return None if encoded.strip(b"\r\n") else (b"", 0, 0)
    start, stop = found.start(), found.start() + len(found[0].rstrip(b"\r\n"))
    if encoded[:start].strip(b"\r\n") or encoded[stop:].strip(b"\r\n"):
        return None
    try:
        octets = binascii.a2b_base64(encoded[start:stop].translate(None, b"\r\n"), strict_mode=True)
    except binascii.Error:
        return None
    return octets, start, stop


def from_loose_base64(encoded: bytes) -> bytes:
    """What the letters of the alphabet come to, whatever stands between or behind them. Never fails."""
    letters = _NOT_BASE64.sub(b"", encoded)
    letters = letters[: len(letters) - (len(letters) % 4 == 1)]
    return binascii.a2b_base64(letters + b"=" * (-len(letters) % 4))


def base64_width(encoded: bytes) -> int:
    """The length of the lines in this base64; 76 where it is not that of a well-made leaf."""
    first, line_end, _ = encoded.partition(b"\r\n")
    is_sound = line_end and len(first) % 4 == 0 and 4 <= len(first) <= MAX_LINE
    return len(first) if is_sound else BASE64_LINE


def to_base64(octets: bytes, width: int) -> bytes:
    """The octets in base64 lines of that width, without a final line end."""
    code = binascii.b2a_base64(octets, newline=False)
    return b"\r\n".join(code[at : at + width] for at in range(0, len(code), width))


def code_before(encoded: bytes, at: int) -> bytes:
    """The code of the octet before `at`, in quoted-printable."""
    escape = _ESCAPE.fullmatch(encoded, at - MAX_CODE, at)
    return escape[0] if escape and escape[1] else encoded[at - 1 : at]


def to_quoted_printable(text: bytes, column: int, tail: int, before: bytes = b"") -> bytes:
    """The text in quoted-printable, with soft breaks so that no line of ours passes 76 octets.

    `column` is how much stands on the line before it, `tail` how much follows on it (a soft break's `=`
    counts). Text without line ends is expected.
    """
    code = before + _ENCODED.sub(lambda octet: b"=%02X" % ord(octet[0]), text)
    out: list[bytes] = []
    at = 0
    while len(code) - at > QP_LINE - 1 - column:
        cut = _cut(code, at, QP_LINE - 1 - column, may_be_empty=column > 0)
        out += code[at:cut], b"=\r\n"
        at, column = cut, 0
    out.append(code[at:])
    if tail and column + len(code) - at + tail > QP_LINE:
        out.append(b"=\r\n")
    return b"".join(out)


def _cut(code: bytes, at: int, room: int, may_be_empty: bool) -> int:
    """Where to break a line with that much room, and never inside an escape."""
    for place in range(at + room, at, -1):
        if b"=" not in code[max(at, place - 2) : place] and code[place] not in _POOR_BEGINNINGS:
            return place
    if may_be_empty:
        return at
    return next(place for place in range(at + room, at, -1) if b"=" not in code[max(at, place - 2) : place])
