"""A header section as spans.

In: octets and where a header section begins.  Out: a Head whose fields are spans into those octets; nothing
is decoded or copied until `value` is asked for.  RFC 5322 §2.2, with the obsolete forms of §4.5.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

# RFC 5322 §3.6.8: printable ASCII except the colon; §4.5 allowed white space before the colon.
_FIELD = re.compile(rb"([!-9;-~]++)([ \t]*+):[^\n]*+\n?+(?:[ \t][^\n]*+\n?+)*+")
_LINE = re.compile(rb"[^\n]*+\n?+(?:[ \t][^\n]*+\n?+)*+")
_CR = ord("\r")
_BLANK = re.compile(rb"\n\r?\n")
_FOLD = re.compile(rb"\r?\n(?=[ \t])")


class Field(NamedTuple):
    """A header field; `octets[start:end]` is all of it, folded lines and final line end included."""

    name: bytes  # lower case
    start: int
    value: int  # the octet after the colon
    end: int


_field = partial(tuple.__new__, Field)  # half the time that Field(…) takes


class Head(NamedTuple):
    """A header section: its fields in order, where the body begins, and whether all lines were fields."""

    fields: tuple[Field, ...]
    body: int
    is_malformed: bool
    by_name: Mapping[bytes, list[Field]]

    def fields_named(self, name: bytes) -> list[Field]:
        """The fields of that (lower-case) name, in order."""
        return self.by_name.get(name, [])


def parse_head(octets: bytes, start: int, end: int) -> Head:
    """The header section that begins at `start`; without a blank line it reaches to `end`.

    Lines that are no field are passed over and make the head malformed, as does white space before a
    colon: readers do not agree on where such a header ends or which fields it has.
    """
    stop, body = _bounds(octets, start, end)
    fields: list[Field] = []
    by_name: dict[bytes, list[Field]] = {}
    is_malformed = False
    at = start
    while at < stop:
        found = _FIELD.match(octets, at, stop)
        if found:
            name, end = found[1].lower(), found.end()
            field = _field((name, at, found.end(2) + 1, end))
            fields.append(field)
            if name in by_name:
                by_name[name].append(field)
            else:
                by_name[name] = [field]
            is_malformed = is_malformed or bool(found[2])
        else:
            is_malformed = True
            found = _LINE.match(octets, at, stop)
            end = found.end() if found else stop
        at = end if end > at else at + 1
    return Head(tuple(fields), body, is_malformed, by_name)


def _bounds(octets: bytes, start: int, end: int) -> tuple[int, int]:
    """Where the fields end, and where the body begins."""
    if octets.startswith((b"\r\n", b"\n"), start, end):
        return start, start + (2 if octets[start] == _CR else 1)
    blank = _BLANK.search(octets, start, end)
    return (blank.start() + 1, blank.end()) if blank else (end, end)


def unfold_value(octets: bytes, field: Field) -> bytes:
    """The field's value, unfolded, without the white space around it."""
    value = octets[field.value : field.end].strip()
    return _FOLD.sub(b"", value) if b"\n" in value else value
