"""Read a mail as far as it can be read: fields, parts, and the text of each part.

In: any octets, with CRLF, LF or CR for line ends.  Out: a LenientPart with its children; a part whose boundary,
charset or transfer encoding is not the declared one is read as what it looks like.  RFC 5322, RFC 2045, RFC 2047.
Why the fields are read here: docs/architecture.md#reading-bounce-mail.

Not `email` of the standard library: a message a thousand levels deep is a RecursionError there, and takes time by its
size times its depth. Here both are bounded.
"""

import html
import re
from collections.abc import Iterator
from functools import cached_property

from relay.mime import charset_names, encoded_words, transfer_encoding

# Reports put what matters first, and the returned mail last.
MAX_OCTETS = 4_000_000
MAX_DEPTH = 8
MAX_PARTS = 200
MAX_FIELDS = 1000
MAX_TEXT = 1_000_000  # octets of one part that are decoded

_FIELD = re.compile(rb"([!-9;-~]{1,100}+)[ \t]*+:[ \t]*+(.*+(?:\n[ \t].*+)*+)\n?")
_PARAMETER = re.compile(r";\s*+([\w!#$%&'*+.^`{|}~-]++)\s*+=\s*+(?:\"((?:[^\"\\]|\\.)*+)\"|([^\s;\"]*+))")
_BASE64_BODY = re.compile(rb"\A(?:[A-Za-z0-9+/]{60,76}\n){2}")

_HIDDEN = re.compile(r"<(style|script|head|title)\b.*?(?:</\1\s*+>|\Z)", re.IGNORECASE | re.DOTALL)
_BREAK = re.compile(r"<(?:/?(?:p|div|tr|table|ul|ol|li|h[1-6]|blockquote|pre)|br|hr)\b[^<>]*>", re.IGNORECASE)
_CELL = re.compile(r"</?t[dh]\b[^<>]*>", re.IGNORECASE)
# An address in brackets is no tag.
_TAG = re.compile(r"<!--.*?(?:-->|\Z)|</?[A-Za-z!?][^<>@=]*(?:=[^<>]*)?>", re.DOTALL)
# html.unescape raises ValueError for a number of more digits than int() takes; no character needs eight.
_LONG_REFERENCE = re.compile(r"&#(?:[0-9]{8,}+|[xX][0-9A-Fa-f]{8,}+);?")


class LenientPart:
    """A mail or a part of one. `fields`: lower-case names and unfolded values; `body`: octets with LF line ends."""

    def __init__(self, fields: tuple[tuple[str, str], ...], body: bytes) -> None:
        self.fields = fields
        self.body = body
        self.children: list[LenientPart] = []

    def get(self, name: str) -> str:
        """The first field of that name, its encoded words decoded; `""` if there is none."""
        return next(self.all_values(name), "")

    def all_values(self, name: str) -> Iterator[str]:
        return (encoded_words.decode_words(value.encode()) for field, value in self.fields if field == name)

    @cached_property
    def type(self) -> str:
        """The content type in lower case, `text/plain` where there is none that can be read."""
        kind = self.get("content-type").partition(";")[0].strip().lower()
        return kind if "/" in kind else "text/plain"

    @cached_property
    def parameters(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, quoted, plain in _PARAMETER.findall(self.get("content-type")[:10_000]):
            found.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) or plain)
        return found

    @cached_property
    def octets(self) -> bytes:
        """The body with its transfer encoding taken off, or as it is where it does not hold to it."""
        body = self.body[:MAX_TEXT]
        encoding = self.get("content-transfer-encoding").strip(' ;"').lower()
        if encoding == "base64" or (encoding in ("", "7bit", "8bit") and _BASE64_BODY.match(body.lstrip())):
            decoded = transfer_encoding.decode_loosely(body, "base64")
            # A report in clear text that calls itself base64.
            return decoded if b" " not in body.strip() or decoded.isascii() else body
        return transfer_encoding.decode_loosely(body, encoding)

    @cached_property
    def text(self) -> str:
        """The text of this leaf, LF-ended, HTML without its tags."""
        decoded = charset_names.decode(self.octets, self.parameters.get("charset", ""))
        decoded = decoded.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
        looks_html = self.type != "text/plain" or decoded.lstrip()[:9].lower().startswith(("<!doctype", "<html"))
        return strip_tags(decoded) if self.type == "text/html" or (looks_html and "<body" in decoded) else decoded

    def walk(self) -> Iterator["LenientPart"]:
        """This part and all below it, in order."""
        yield self
        for child in self.children:
            yield from child.walk()


def parse_mail(octets: bytes) -> LenientPart:
    """The mail: fields, perhaps none, and a body. What is over the limits is left out."""
    text = octets[:MAX_OCTETS].replace(b"\r\n", b"\n").replace(b"\r", b"\n").lstrip(b"\n \t\xef\xbb\xbf")
    if text.startswith((b"From ", b">From ")):  # an mbox's line
        text = text.partition(b"\n")[2]
    return _parse_part(text, 0, [MAX_PARTS])


def parse_fields(octets: bytes) -> tuple[tuple[tuple[str, str], ...], bytes]:
    """The header section and what follows it; octets are LF-ended. A line that is no field ends it, blank or not."""
    found: list[tuple[str, str]] = []
    at = 0
    while len(found) < MAX_FIELDS and (match := _FIELD.match(octets, at)):
        value = charset_names.decode(match[2][:20_000], "").replace("\n", " ").strip()
        found.append((match[1].decode("ascii").lower(), value))
        at = match.end()
    return tuple(found), octets[at + 1 :] if octets[at : at + 1] == b"\n" else octets[at:]


def _parse_part(octets: bytes, depth: int, budget: list[int]) -> LenientPart:
    budget[0] -= 1
    part = LenientPart(*parse_fields(octets))
    if depth >= MAX_DEPTH:
        return part
    if part.type.startswith("multipart/"):
        part.children = [_parse_part(piece, depth + 1, budget) for piece in _split_multipart(part) if budget[0] > 0]
    elif part.type in ("message/rfc822", "message/global", "message/news") and budget[0] > 0:
        part.children = [_parse_part(part.octets.replace(b"\r\n", b"\n").lstrip(b"\n"), depth + 1, budget)]
    return part


def _split_multipart(part: LenientPart) -> Iterator[bytes]:
    boundary = part.parameters.get("boundary", "").encode("utf-8", "replace").rstrip()
    lines = rb"^--" + re.escape(boundary) + rb"(--)?[ \t]*+$"
    if not boundary or not re.search(lines, part.body, re.MULTILINE):
        # No boundary, or one that is not there: the first line that could be one is.
        guess = re.search(rb"^--(\S.{0,70}?)[ \t]{0,20}+\n(?=content-)", part.body, re.M | re.I)
        if not guess:
            return
        lines = rb"^--" + re.escape(guess[1]) + rb"(--)?[ \t]*+$"
    start = -1
    for found in re.finditer(lines, part.body, re.MULTILINE):
        if start >= 0:
            yield part.body[start : max(start, found.start() - 1)]
        start = found.end() + 1
        if found[1]:
            return
    if start >= 0:
        yield part.body[start:]


def strip_tags(text: str) -> str:
    """The text of an HTML document, its blocks on lines of their own."""
    text = _CELL.sub(" ", _BREAK.sub("\n", _HIDDEN.sub(" ", text)))
    return html.unescape(_LONG_REFERENCE.sub("\ufffd", _TAG.sub("", text))).replace("\xa0", " ")
