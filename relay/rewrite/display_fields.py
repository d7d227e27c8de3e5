"""What the console shows of a message: subject, author, Message-ID, decoded for reading.

In: a header section.  Out: short text; a value that cannot be decoded is shown as it came. RFC 2047.
"""

from typing import NamedTuple

from relay.mime import encoded_words, fields

_MAX_CHARACTERS = 500  # characters


class DisplayFields(NamedTuple):
    """Display text; empty where the field is missing."""

    subject: str = ""
    author: str = ""
    message_id: str = ""


def read_display_fields(octets: bytes, head: fields.Head) -> DisplayFields:
    """The facts of the first field of each name."""
    return DisplayFields(
        _first_value(octets, head, b"subject"),
        _first_value(octets, head, b"from"),
        _first_value(octets, head, b"message-id"),
    )


def decode_header_text(value: bytes) -> str:
    """An unfolded field value as text of at most 500 characters, on one line, without control characters."""
    return to_printable(encoded_words.decode_words(value[: 8 * _MAX_CHARACTERS]))


def to_printable(text: str) -> str:
    """At most 500 characters of it, on one line, without control characters."""
    text = text[: 8 * _MAX_CHARACTERS].encode("utf-8", "replace").decode()  # lone surrogates cannot be stored
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(text.split())[:_MAX_CHARACTERS]


def _first_value(octets: bytes, head: fields.Head, name: bytes) -> str:
    found = head.by_name.get(name)
    if not found:
        return ""
    value = fields.unfold_value(octets, found[0])
    if len(value) <= _MAX_CHARACTERS and value.isascii() and b"=?" not in value:
        text = value.decode("ascii")
        if text.isprintable() and "  " not in text:  # nearly always: it is as `decode_header_text` would make it
            return text
    return decode_header_text(value)
