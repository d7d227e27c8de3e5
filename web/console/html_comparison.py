"""What was changed in a mail's HTML, tag by tag: the app's beside the recipient's.

In: the decoded HTML as it came and as it was sent.  Out: pairs of what differs, in order. The time is linear for any
input, because each tag or text is searched among the next few only.
"""

import html
import re
from typing import NamedTuple

MAX_CHANGES = 300
_LOOK_AHEAD = 12  # tokens
_MAX_SHOWN = 1500  # characters of a token
_MAX_READ = 1 << 19  # characters of each
_TOKEN = re.compile(r"<[^<>]*+>?|[^<]++")
_HREF = re.compile(r"""\bhref\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'>]++))""", re.IGNORECASE)


class HtmlChange(NamedTuple):
    """Old and new text of a place; one of them may be empty. `href`: where the link led, if it is one."""

    old: str
    new: str
    href: str


def compare_html(before: str, after: str) -> list[HtmlChange]:
    """What differs; MAX_CHANGES at most."""
    old, new = _TOKEN.findall(before[:_MAX_READ]), _TOKEN.findall(after[:_MAX_READ])
    found: list[HtmlChange] = []
    i = j = 0
    while i < len(old) and j < len(new) and len(found) < MAX_CHANGES:
        if old[i] == new[j]:
            i, j = i + 1, j + 1
            continue
        skip_old, skip_new = _next_same(old, new, i, j)
        found.append(_change(old[i : i + skip_old], new[j : j + skip_new]))
        i, j = i + skip_old, j + skip_new
    if len(found) < MAX_CHANGES and (i < len(old) or j < len(new)):
        found.append(_change(old[i:], new[j:]))
    return found


def _next_same(old: list[str], new: list[str], i: int, j: int) -> tuple[int, int]:
    """How many tokens to skip on each side until both are the same again; one on each side if that is too far away."""
    for distance in range(1, _LOOK_AHEAD):
        for skip_new in range(distance + 1):
            skip_old = distance - skip_new
            if i + skip_old < len(old) and j + skip_new < len(new) and old[i + skip_old] == new[j + skip_new]:
                return skip_old, skip_new
    return 1, 1


def _change(old: list[str], new: list[str]) -> HtmlChange:
    before = "".join(old)[:_MAX_SHOWN]
    link = _HREF.search(before)
    href = html.unescape(next(filter(None, link.groups()), "")) if link else ""
    return HtmlChange(before, "".join(new)[:_MAX_SHOWN], href)
