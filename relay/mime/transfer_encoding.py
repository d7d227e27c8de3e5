"""Content-Transfer-Encodings: reading a leaf with an offset map, and writing what is put into it.

In: a leaf's encoded octets.  Out: a DecodedText, whose `start` and `end` take an offset in the decoded octets back
to the encoded ones; and code that replaces a span of it.  RFC 2045 §6.7, §6.8.
"""

import binascii
import quopri
import re
import struct
from bisect import bisect_right
from itertools import accumulate

QP_LINE = 76  # RFC 2045 §6.7 rule 5
MAX_CODE = 3  # octets: =XX
_EQUALS_SIGN = ord("=")
_SOFT_BREAK = b"=\r\n"
BASE64_LINE = 76  # RFC 2045 §6.8
MAX_LINE = 998  # RFC 5322 §2.1.1
_ESCAPE = re.compile(rb"=(?:([0-9A-Fa-f]{2})|[ \t]*(?:\r?\n|\Z))")
_ODD_ESCAPE = re.compile(rb"=(?!\r\n|3D|[0-9A-Fa-f][0-9A-Fa-f])")  # the most frequent first
_ENCODED = re.compile(rb"[^ -<>-~]")
_UNENCODED = bytes(octet for octet in range(0x20, 0x7F) if octet != _EQUALS_SIGN)
_POOR_BEGINNINGS = b".-F"  # no line of ours begins like a lone dot, a delimiter or `From `
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")
_MAX_RUN = 4000  # octets that a look-up counts through; where soft breaks are further apart, each escape is listed


class DecodedText:
    """A decoded leaf whose octets lie in the encoded one as they are."""

    __slots__ = ("encoded", "octets")

    def __init__(self, octets: bytes, encoded: bytes) -> None:
        self.octets, self.encoded = octets, encoded

    def start(self, offset: int) -> int:
        """Where the encoded form of the octet at `offset` begins."""
        return offset

    def end(self, offset: int) -> int:
        """Where the encoded form of the octet before `offset` ends."""
        return offset


class QuotedPrintableText(DecodedText):
    """The same of quoted-printable. The map of its offsets is made when somebody asks for one."""

    __slots__ = ("_lists_escapes", "_runs")

    def __init__(self, octets: bytes, encoded: bytes, *, is_odd: bool) -> None:
        super().__init__(octets, encoded)
        self._lists_escapes = is_odd  # an `=` may stand for itself, or soft breaks have blanks in them
        self._runs: tuple[list[int], list[int]] | None = None

    def start(self, offset: int) -> int:
        if offset >= len(self.octets):
            return self.end(offset)
        if self._runs is None:
            self._runs = self._find_runs()
        decoded_at, encoded_at = self._runs
        run = bisect_right(decoded_at, offset) - 1
        at, inside = encoded_at[run], offset - decoded_at[run]
        if self._lists_escapes:
            return at + inside
        at += run * len(_SOFT_BREAK)
        end = at + inside
        while escapes := self.encoded.count(b"=", at, end):  # each is two octets longer than what it stands for
            at, end = end, end + 2 * escapes
        return end

    def _find_runs(self) -> tuple[list[int], list[int]]:
        """Where each run begins, decoded and encoded: between soft breaks, not counting those, or between escapes."""
        if not self._lists_escapes:
            runs = self.encoded.split(_SOFT_BREAK)
            lengths = [*map(len, runs)]
            if max(lengths) <= _MAX_RUN:
                decoded = [length - 2 * run.count(b"=") for length, run in zip(lengths, runs, strict=True)]
                return [0, *accumulate(decoded[:-1])], [0, *accumulate(lengths[:-1])]
            self._lists_escapes = True
        return _runs_between_escapes(self.encoded)

    def end(self, offset: int) -> int:
        if offset == 0:
            return 0
        at = self.start(offset - 1)
        if self.encoded[at] != _EQUALS_SIGN:
            return at + 1
        escape = _ESCAPE.match(self.encoded, at)
        return escape.end() if escape and escape[1] else at + 1


def from_identity(encoded: bytes) -> DecodedText:
    """7bit, 8bit and binary: the octets themselves."""
    return DecodedText(encoded, encoded)


def from_quoted_printable(encoded: bytes) -> QuotedPrintableText:
    """The decoded leaf. An `=` that begins no escape stands for itself, as in every reader."""
    is_odd = _ODD_ESCAPE.search(encoded) is not None
    octets = _decode_odd_escapes(encoded) if is_odd else binascii.a2b_qp(encoded)
    return QuotedPrintableText(octets, encoded, is_odd=is_odd)


def _decode_odd_escapes(encoded: bytes) -> bytes:
    """What quoted-printable decodes to. `binascii` reads other things into `==`, `= \\r\\n` and `=\\r`."""
    out: list[bytes] = []
    at = 0
    for escape in _ESCAPE.finditer(encoded):
        out.append(encoded[at : escape.start()])
        if escape[1]:
            out.append(bytes.fromhex(escape[1].decode("ascii")))
        at = escape.end()
    out.append(encoded[at:])
    return b"".join(out)


def _runs_between_escapes(encoded: bytes) -> tuple[list[int], list[int]]:
    """Where the runs begin, decoded and encoded, that have no escapes at all."""
    decoded_at, encoded_at = [0], [0]
    at = offset = 0
    for escape in _ESCAPE.finditer(encoded):
        start, stop = escape.span()
        offset += start - at + (1 if escape[1] else 0)
        at = stop
        decoded_at.append(offset)
        encoded_at.append(at)
    return decoded_at, encoded_at


def from_base64(encoded: bytes) -> tuple[bytes, int, int] | None:
    """The decoded leaf and the span of its base64 lines; None unless every reader decodes it alike.

    RFC 2045 §6.8 wants octets outside the alphabet ignored; what follows padding, readers treat in four ways.
    """
    code = encoded.translate(None, b"\r\n")
    if not code:
        return b"", 0, 0
    try:
        octets = binascii.a2b_base64(code, strict_mode=True)
    except binascii.Error:
        return None
    return octets, len(encoded) - len(encoded.lstrip(b"\r\n")), len(encoded.rstrip(b"\r\n"))


def from_loose_base64(encoded: bytes) -> bytes:
    """What the letters of the alphabet come to, whatever stands between or behind them. Never fails."""
    letters = _NOT_BASE64.sub(b"", encoded)
    letters = letters[: len(letters) - (len(letters) % 4 == 1)]
    return binascii.a2b_base64(letters + b"=" * (-len(letters) % 4))


def decode_loosely(encoded: bytes, encoding: str) -> bytes:
    """The octets for somebody who only reads them; as they are in an encoding that is unknown. Never fails."""
    if encoding == "base64":
        return from_loose_base64(encoded)
    return quopri.decodestring(encoded) if encoding == "quoted-printable" else encoded


def is_base64_of(encoded: bytes, octets: bytes) -> bool:
    """True if these are base64 lines that decode to those octets. As each text has one spelling, it is encoded, which
    takes half as long as decoding."""
    return encoded.translate(None, b"\r\n") == binascii.b2a_base64(octets, newline=False)


def has_long_line(octets: bytes, start: int, end: int) -> bool:
    """True if a line of that span is longer than 998 octets without its CRLF."""
    longest = MAX_LINE + len(b"\r\n")
    at = start
    while end - at > MAX_LINE:
        line_end = octets.rfind(b"\n", at, min(at + longest, end))
        if line_end < 0:
            return True
        at = line_end + 1
    return False


def base64_width(encoded: bytes) -> int:
    """The length of the lines in this base64; 76 where it is not that of a well-made leaf."""
    first, line_end, _ = encoded.partition(b"\r\n")
    is_sound = line_end and len(first) % 4 == 0 and 4 <= len(first) <= MAX_LINE
    return len(first) if is_sound else BASE64_LINE


def to_base64(octets: bytes, width: int) -> bytes:
    """The octets in base64 lines of that width, without a final line end."""
    code = binascii.b2a_base64(octets, newline=False)
    full, rest = divmod(len(code), width)
    lines = struct.Struct(f"{width}s" * full + f"{rest}s" * bool(rest))  # takes a third of the time that slices do
    return b"\r\n".join(lines.unpack(code))


def code_before(encoded: bytes, at: int) -> bytes:
    """The code of the octet before `at`, in quoted-printable."""
    escape = _ESCAPE.fullmatch(encoded, at - MAX_CODE, at)
    return escape[0] if escape and escape[1] else encoded[at - 1 : at]


def to_quoted_printable(text: bytes, column: int, tail: int, before: bytes = b"") -> bytes:
    """The text in quoted-printable, with soft breaks so that no line of ours passes 76 octets.

    `column` is how much stands on the line before it, `tail` how much follows on it (a soft break's `=`
    counts). Text without line ends is expected.
    """
    if text.translate(None, _UNENCODED):  # not so for a URL of ours, whose every octet stands for itself
        text = _ENCODED.sub(lambda octet: b"=%02X" % ord(octet[0]), text)
    code = before + text
    out: list[bytes] = []
    at = 0
    while len(code) - at > (room := QP_LINE - 1 - column):
        cut = at + room
        if room < MAX_CODE or code.find(b"=", cut - MAX_CODE + 1, cut) >= 0 or code[cut] in _POOR_BEGINNINGS:
            cut = _cut(code, at, room, may_be_empty=column > 0)
        out += code[at:cut], _SOFT_BREAK
        at, column = cut, 0
    out.append(code[at:])
    if tail and column + len(code) - at + tail > QP_LINE:
        out.append(_SOFT_BREAK)
    return b"".join(out)


def _cut(code: bytes, at: int, room: int, may_be_empty: bool) -> int:
    """Where to break a line with that much room, and never inside an escape."""
    for place in range(at + room, at, -1):
        if b"=" not in code[max(at, place - 2) : place] and code[place] not in _POOR_BEGINNINGS:
            return place
    if may_be_empty:
        return at
    return next(place for place in range(at + room, at, -1) if b"=" not in code[max(at, place - 2) : place])
