"""Field values with encoded words, as text. RFC 2047.

In: an unfolded value.  Out: text of any length. Words are read as mail programs read them, which is wider than the
standard: a word may hold spaces and question marks, and a character may be split over two adjacent words.
"""

import quopri
import re
from collections.abc import Iterator
from typing import NamedTuple

from relay.mime import charset_names, transfer_encoding

# RFC 2231 §5: "*" and a language may follow the charset. A word ends before another one begins.
_WORD = re.compile(rb"=\?([\w.:+-]{1,40})(?:\*[\w-]*+)?\?([bBqQ])\?((?:[^?=]|\?(?!=)|=(?!\?[^=]))*+)\?=")


class _Piece(NamedTuple):
    """Octets of a value: those of an encoded word, or `charset` None for what stands outside of words."""

    charset: str | None
    octets: bytes


def decode_words(value: bytes) -> str:
    """The value with its encoded words decoded. Never raises.

    A charset that is unknown, or does not fit, is taken for UTF-8, else for Windows-1252. A word of which no octet can
    be decoded stays as it came.
    """
    if b"=?" not in value:
        return charset_names.decode(value, "")
    text: list[str] = []
    same: list[bytes] = []  # adjacent words of one charset
    charset: str | None = None
    for piece in _split_pieces(value):
        if piece.charset != charset:
            text.append(_decode_adjacent(same, charset))
            same, charset = [], piece.charset
        same.append(piece.octets)
    text.append(_decode_adjacent(same, charset))
    return "".join(text)


def _split_pieces(value: bytes) -> Iterator[_Piece]:
    at, is_after_word = 0, False
    for found in _WORD.finditer(value):
        octets = _decode_payload(found)
        if found[3].strip() and not octets:
            continue
        between = value[at : found.start()]
        if between.strip(b" \t") or (between and not is_after_word):  # RFC 2047 §6.2: between two words it is left out
            yield _Piece(None, between)
        yield _Piece(found[1].decode("ascii").lower(), octets)
        at, is_after_word = found.end(), True
    yield _Piece(None, value[at:])


def _decode_payload(word: re.Match[bytes]) -> bytes:
    if word[2] in b"bB":
        return transfer_encoding.from_loose_base64(word[3])
    return quopri.decodestring(word[3], header=True)


def _decode_adjacent(pieces: list[bytes], charset: str | None) -> str:
    """The text of words of one charset. They are decoded together if possible: a character may be split over two."""
    joined = charset_names.try_decode(b"".join(pieces), charset or "")
    return joined if joined is not None else "".join(charset_names.decode(piece, charset or "") for piece in pieces)
