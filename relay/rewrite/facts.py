"""What the console shows of a message: subject, author, Message-ID, decoded for reading.

In: a header section.  Out: short text; a value that cannot be decoded is shown as it came. RFC 2047.
"""

import email.errors
import email.header
from contextlib import suppress
from dataclasses import dataclass

from relay.rewrite import fields

_LONGEST = 500  # characters


@dataclass(frozen=True, slots=True)
class Facts:
    """Display text; empty where the field is missing."""

    subject: str = ""
    author: str = ""
    message_id: str = ""


def read(octets: bytes, head: fields.Head) -> Facts:
    """The facts of the first field of each name."""
    return Facts(*(_first(octets, head, name) for name in (b"subject", b"from", b"message-id")))


def decoded(value: bytes) -> str:
    """An unfolded field value as text of at most 500 characters, on one line, without control characters."""
    try:
        text = value[: 8 * _LONGEST].decode()
    except UnicodeDecodeError:
        text = value[: 8 * _LONGEST].decode("latin-1")
    if "=?" in text:
        with suppress(email.errors.MessageError, LookupError, ValueError):
            text = str(email.header.make_header(email.header.decode_header(text)))
    return shown(text)


def shown(text: str) -> str:
    """At most 500 characters of it, on one line, without control characters."""
    text = text[: 8 * _LONGEST].encode("utf-8", "replace").decode()  # lone surrogates cannot be stored
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(text.split())[:_LONGEST]


def _first(octets: bytes, head: fields.Head, name: bytes) -> str:
    found = head.named(name)
    return decoded(fields.value(octets, found[0])) if found else ""
