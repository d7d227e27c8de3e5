"""Where a line of HTML may end without a change of meaning: beside attributes, within tags, at a space of running text.

In: the text, its markup and what is put into it.  Out: spans that a line end may take the place of.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

from relay.mime.transfer_encoding import LONGEST_LINE
from relay.rewrite import html_tokenizer
from relay.rewrite.edit_templates import Draft

_BLANK = (b" ", b"\t")
_NEAR = 200  # octets
# Where a line end may be no space. In `pre` it is one that shows, as in text/plain: better than a mark left as it is.
_RAW = (b"textarea", b"xmp", b"script", b"style", b"title")


def beside(text: bytes, href: html_tokenizer.Attribute) -> list[tuple[int, int]]:
    """Before and after an href."""
    found = []
    if text[href.named - 1 : href.named] in _BLANK:
        found.append((href.named - 1, href.named))
    has_space = text[href.after : href.after + 1] in _BLANK
    return [*found, (href.after, href.after + has_space)]


def around(
    markup: html_tokenizer.Markup, drafts: Sequence[Draft], wanted: Sequence[Draft]
) -> list[tuple[Draft, int, int]]:
    """Before and after those of the drafts that stand in running text: within a tag that is near in the same line, else
    at the nearest space. All are in order."""
    read = html_tokenizer.read(markup.html)  # the page may have been skimmed
    starts = [tag.start for tag in read.tags]
    past = {draft: before.end for before, draft in pairwise(drafts)}
    until = {draft: after.start for draft, after in pairwise(drafts)}
    found: list[tuple[Draft, int, int]] = []
    for draft in wanted:
        n = bisect_right(starts, draft.start) - 1
        last = read.tags[n] if n >= 0 else None
        following = read.tags[n + 1] if n + 1 < len(read.tags) else None
        if last and draft.start < last.end:
            continue  # inside a tag
        low = max(past.get(draft, 0), last.end if last else 0)
        high = min(until.get(draft, len(read.html)), following.start if following else len(read.html))
        may_end = not (last and last.name in _RAW and not last.is_closing)
        before = _within(read.html, last, draft.start) or (may_end and _space_before(read.html, low, draft.start))
        after = _within(read.html, following, draft.end) or (may_end and _space_after(read.html, draft.end, high))
        found += [(draft, *gap) for gap in (before, after) if gap]
    return found


def _within(html: bytes, tag: html_tokenizer.Tag | None, at: int) -> tuple[int, int] | None:
    """Behind the name of the tag, if it is near in the same line: a blank is allowed there in every tag."""
    if tag is None:
        return None
    low, high = min(tag.inner, at), max(tag.inner, at)
    return (tag.inner, tag.inner) if high - low <= _NEAR and b"\n" not in html[low:high] else None


def _space_before(html: bytes, low: int, at: int) -> tuple[int, int] | None:
    low = max(low, at - LONGEST_LINE)
    space = html.rfind(b" ", low, at)
    is_text = b"<" not in html[space:at] and b"\n" not in html[space:at]
    return (space, space + 1) if space >= 0 and is_text else None


def _space_after(html: bytes, at: int, high: int) -> tuple[int, int] | None:
    high = min(high, at + LONGEST_LINE)
    space = html.find(b" ", at, high)
    is_text = b"<" not in html[at:space] and b"\n" not in html[at:space]
    return (space, space + 1) if space >= 0 and is_text else None
