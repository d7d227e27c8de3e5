"""One HTML tag: its span and its attributes. WHATWG HTML §13.2.5.32 to .40.

In: HTML octets in lower case, and a tag.  Out: its attributes, with the spans of their values, in a time that is linear
in the length of the tag.
"""

import re
from functools import partial
from typing import NamedTuple

SPACE = rb"\t\n\f\r "
# One attribute, as it stands in a tag.
ATTRIBUTE = (
    rb"[^%(s)s/>][^%(s)s/>=]*(?:=\"[^\"]*\"|[%(s)s]*=[%(s)s]*"
    rb"(?:\"[^\"]*\"|'[^']*'|[^%(s)s>\"'][^%(s)s>]*|(?=>)|[\"'].*))?[%(s)s/]*" % {b"s": SPACE}
)  # an open quote takes all the rest
# Each attribute of a tag, with its name and value.
ATTRIBUTES = re.compile(
    rb"([^%(s)s/>][^%(s)s/>=]*)(?:[%(s)s]*=[%(s)s]*(?:\"([^\"]*)\"|'([^']*)'|([^%(s)s>\"'][^%(s)s>]*)))?"
    % {b"s": SPACE}
)


class Tag(NamedTuple):
    """`html[start:end]` is the whole tag, `html[inner:end]` what follows its name."""

    name: bytes  # lower case
    start: int
    inner: int
    end: int
    is_closing: bool
    is_live: bool


make_tag = partial(tuple.__new__, Tag)  # twice as fast as Tag(…), which counts for tags and attributes alone


class Attribute(NamedTuple):
    """An attribute; `html[start:end]` is its value without quotes, empty where it has none."""

    name: bytes  # lower case
    name_start: int  # where the name begins
    start: int
    end: int
    after: int  # after the closing quote


_attribute = partial(tuple.__new__, Attribute)


def plain_attributes(name: bytes) -> bytes:
    """A pattern for the rest of a tag whose attributes all have values in double quotes, as nearly all do; its groups
    are the first attribute of that name and its value, where there is one."""
    pair = rb"[^%b/>=\"'<]++=\"[^\"]*+\"" % SPACE
    return rb"(?:[%(s)b]++(?!%(n)b=)%(p)b)*+(?:[%(s)b]++(%(n)b)=\"([^\"]*+)\"(?:[%(s)b]++%(p)b)*+)?+[%(s)b]*+/?+>" % {
        b"s": SPACE,
        b"n": name,
        b"p": pair,
    }


_HREF = re.compile(plain_attributes(b"href"))


def read_href(lower: bytes, tag: Tag) -> Attribute | None:
    """The tag's href, if it is one of a tag that is quick to read; else None."""
    found = _HREF.fullmatch(lower, tag.inner, tag.end)
    if found is None or found.lastindex is None:
        return None
    start, end = found.span(2)
    return _attribute((b"href", found.start(1), start, end, end + 1))


def read_attributes(lower: bytes, tag: Tag) -> dict[bytes, Attribute]:
    """The tag's attributes by name, in order; of several with one name the first (§13.2.5.33)."""
    found: dict[bytes, Attribute] = {}
    for part in ATTRIBUTES.finditer(lower, tag.inner, tag.end - 1):
        name = part[1]
        if name not in found:
            group = part.lastindex or 1
            start, end = part.span(group) if group > 1 else (part.end(), part.end())
            found[name] = _attribute((name, part.start(1), start, end, part.end()))
    return found
