"""Which texts may be read as ASCII with other octets between.

The tokenizer reads every charset as if it were Latin-1. That is right for supersets of ASCII whose other octets never
look like markup. ISO-2022-JP is masked. Text in any other charset is not rewritten.  WHATWG Encoding §4,
RFC 1468.
"""

import re

from relay.mime import charset_names

# Programs write these if they do not know the charset. No mail program knows a charset of that name.
_MEANINGLESS_LABELS = frozenset({"default", "default_charset", "unknown", "unknown-8bit", "x-unknown"})
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")
# RFC 1468: ESC ( B is ASCII, ESC ( J JIS X 0201 Roman; every other set's octets may look like markup.
_FOREIGN_RUN = re.compile(rb"(?:\x1b(?!\([BJ]).)[^\x1b\r\n]*", re.DOTALL)


def find_codec(label: str, octets: bytes) -> str | None:
    """The Python codec that a browser would read these octets with; None if they are not ASCII-like.

    Without a label it is UTF-8 where the octets are that, else Windows-1252.
    """
    if octets.startswith(_WIDE_MARKS):  # a byte order mark beats any label
        return None
    label = label.strip("'").lower()  # RFC 2045 knows no quotes of this kind
    if not label or (label in _MEANINGLESS_LABELS and octets.isascii()):
        if b"\x1b" in octets:
            return None
        try:
            octets.decode()
        except UnicodeDecodeError:
            return "cp1252"
        return "utf-8"
    name = charset_names.lookup(label)
    if name is None or name in charset_names.ISO_2022_JP:
        return name
    if not charset_names.is_ascii_superset(name) or (b"\x1b" in octets and name in ("ascii", "utf-8")):
        return None
    return charset_names.SEEN_AS.get(name, name)


def mask(octets: bytes, codec: str) -> bytes | None:
    """The octets, with each octet that only looks like ASCII replaced by `x`; None if that is uncertain."""
    if codec not in charset_names.ISO_2022_JP:
        return octets
    if re.search(rb"[\x0e\x0f\x80-\xff]", octets):  # shifts and 8-bit octets have no place in it
        return None
    out = _FOREIGN_RUN.sub(lambda run: b"x" * len(run[0]), octets)
    # RFC 1468: a line ends in ASCII. If it does not, mail programs disagree on how the next one begins.
    for run in _FOREIGN_RUN.finditer(octets):
        if octets[run.end() : run.end() + 1] in (b"\r", b"\n"):
            return None
    return out


def decode_text(octets: bytes, codec: str) -> str:
    """The text, with U+FFFD for octets that the codec does not know."""
    return octets.decode(codec, "replace")
