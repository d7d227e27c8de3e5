"""What the console shows of a message: subject, author, Message-ID, decoded for reading.

In: a header section.  Out: short text; a value that cannot be decoded is shown as it came. RFC 2047.
"""

import email.errors
import email.header
import re
from contextlib import suppress
from dataclasses import dataclass

from relay.mime import charset_names, fields

_MAX_CHARACTERS = 500  # characters
_CHARSET = re.compile(r"=\?([^?*]*+)[^?]*+\?[bqBQ]\?")  # RFC 2231 §5: a language may follow it


@dataclass(frozen=True, slots=True)
class DisplayFields:
    """Display text; empty where the field is missing."""

    subject: str = ""
    author: str = ""
    message_id: str = ""


def read(octets: bytes, head: fields.Head) -> DisplayFields:
    """The facts of the first field of each name."""
    return DisplayFields(*(_first(octets, head, name) for name in (b"subject", b"from", b"message-id")))


def decode_header_text(value: bytes) -> str:
    """An unfolded field value as text of at most 500 characters, on one line, without control characters."""
    return to_printable(decode_words(value[: 8 * _MAX_CHARACTERS]))


def decode_words(value: bytes) -> str:
    """An unfolded field value as text of any length, its encoded words (RFC 2047) decoded where that can be done."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    # What begins a word after the last one's end would be looked through to the end of the line, each time anew.
    end = text.rfind("?=") + len("?=") if "?=" in text else 0
    words, rest = text[:end], text[end:]
    if "=?" not in words or len(words.splitlines()) > 1 or not all(map(charset_names.lookup, _CHARSET.findall(words))):
        return text
    with suppress(email.errors.MessageError, LookupError, ValueError):
        return str(email.header.make_header(email.header.decode_header(words))) + rest
    return text


def to_printable(text: str) -> str:
    """At most 500 characters of it, on one line, without control characters."""
    text = text[: 8 * _MAX_CHARACTERS].encode("utf-8", "replace").decode()  # lone surrogates cannot be stored
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(text.split())[:_MAX_CHARACTERS]


def _first(octets: bytes, head: fields.Head, name: bytes) -> str:
    found = head.fields_named(name)
    return decode_header_text(fields.unfold_value(octets, found[0])) if found else ""
