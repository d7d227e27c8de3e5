"""Setting members of a JSON object without touching the rest of its octets.

In: a header field's value and the members to set.  Out: what to replace in it. Line ends are white space in
JSON, so the value is read as it stands, folds and all.  RFC 8259 §2, §4; RFC 5322 §2.2.3.
"""

import json
import re
from typing import NamedTuple

_DECODER = json.JSONDecoder(strict=False)  # a fold may stand inside a string
_SPACE = re.compile(r"[ \t\r\n]*")

Members = dict[str, "Members | bool | int"]


class Change(NamedTuple):
    """`text[start:end]` becomes `new`."""

    start: int
    end: int
    new: str


def set_members(text: str, members: Members) -> list[Change]:
    """The changes, in order, after which the object in `text` has these members.

    Raises ValueError or RecursionError if the text is not one JSON object.
    """
    at = _past_space(text, 0)
    value, end = _DECODER.raw_decode(text, at)
    if not isinstance(value, dict) or _past_space(text, end) != len(text):
        raise ValueError("not a JSON object")
    return sorted(_find_changes(text, at, members))


def _find_changes(text: str, at: int, members: Members) -> list[Change]:
    """The changes for the object that begins at `at`."""
    there = _member_spans(text, at)
    changes: list[Change] = []
    missing: Members = {}
    for name, content in members.items():
        if name not in there:
            missing[name] = content
        for start, end in there.get(name, ()):  # of two with one name, readers take either
            if isinstance(content, dict) and text[start] == "{":
                changes += _find_changes(text, start, content)
            else:
                new = json.dumps(content)
                fold = "\r\n " if len(new) > end - start else ""  # no line grows
                changes.append(Change(start, end, fold + new))
    if missing:
        rest = text[at + 1 : at + 1000].partition("\n")[0]
        # No line may be left blank: RFC 5322 §3.2.2 forbids it, and some readers end the header there.
        fold = "\r\n " if rest.strip() else ""
        comma = "," if there else ""
        changes.append(Change(at + 1, at + 1, f"\r\n {json.dumps(missing)[1:-1]}{comma}{fold}"))
    return changes


def _member_spans(text: str, at: int) -> dict[str, list[tuple[int, int]]]:
    """The spans of the values, by name, in the valid object that begins at `at`."""
    spans: dict[str, list[tuple[int, int]]] = {}
    at = _past_space(text, at + 1)
    while text[at] != "}":
        name, at = _DECODER.raw_decode(text, at)
        at = _past_space(text, _past_space(text, at) + 1)  # past the colon
        _, end = _DECODER.raw_decode(text, at)
        spans.setdefault(name.replace("\r\n", ""), []).append((at, end))
        at = _past_space(text, end)
        if text[at] == ",":
            at = _past_space(text, at + 1)
    return spans


def _past_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at
