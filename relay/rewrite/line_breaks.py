"""Where a line of HTML may end without a change of meaning: beside attributes, within tags, at a space of running text.

In: the text, its markup and what is put into it.  Out: spans that a line end may take the place of.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

from relay.mime.transfer_encoding import MAX_LINE
from relay.rewrite import html_attributes, html_tokenizer
from relay.rewrite.edit_templates import EditTemplate

_BLANK = (b" ", b"\t")
_NEAR = 200  # octets
# A line end here may change what is shown. In `pre` it shows as a line end, as in text/plain, which is better than a
# placeholder that stays.
_RAW = (b"textarea", b"xmp", b"script", b"style", b"title")


def spaces_beside(text: bytes, href: html_attributes.Attribute) -> list[tuple[int, int]]:
    """Before and after an href."""
    found = []
    if text[href.name_start - 1 : href.name_start] in _BLANK:
        found.append((href.name_start - 1, href.name_start))
    has_space = text[href.after : href.after + 1] in _BLANK
    return [*found, (href.after, href.after + has_space)]


def spaces_around(
    markup: html_tokenizer.Markup, templates: Sequence[EditTemplate], chosen_templates: Sequence[EditTemplate]
) -> list[tuple[EditTemplate, int, int]]:
    """The spaces before and after the chosen templates, which stand in running text, in order.

    Within a tag that is near in the same line, else the nearest space.
    """
    read = html_tokenizer.tokenize(markup.html)  # the page may have been skimmed
    starts = [tag.start for tag in read.tags]
    past = {template: before.end for before, template in pairwise(templates)}
    until = {template: after.start for template, after in pairwise(templates)}
    found: list[tuple[EditTemplate, int, int]] = []
    for template in chosen_templates:
        n = bisect_right(starts, template.start) - 1
        last = read.tags[n] if n >= 0 else None
        following = read.tags[n + 1] if n + 1 < len(read.tags) else None
        if last and template.start < last.end:
            continue  # inside a tag
        low = max(past.get(template, 0), last.end if last else 0)
        high = min(until.get(template, len(read.html)), following.start if following else len(read.html))
        may_end = not (last and last.name in _RAW and not last.is_closing)
        before = _find_space_in_tag(read.html, last, template.start) or (
            may_end and _space_before(read.html, low, template.start)
        )
        after = _find_space_in_tag(read.html, following, template.end) or (
            may_end and _space_after(read.html, template.end, high)
        )
        found += [(template, *gap) for gap in (before, after) if gap]
    return found


def _find_space_in_tag(html: bytes, tag: html_attributes.Tag | None, at: int) -> tuple[int, int] | None:
    """Behind the name of the tag, if it is near in the same line: a blank is allowed there in every tag."""
    if tag is None:
        return None
    low, high = min(tag.inner, at), max(tag.inner, at)
    return (tag.inner, tag.inner) if high - low <= _NEAR and b"\n" not in html[low:high] else None


def _space_before(html: bytes, low: int, at: int) -> tuple[int, int] | None:
    low = max(low, at - MAX_LINE)
    space = html.rfind(b" ", low, at)
    if space < 0 or b"<" in html[space:at] or b"\n" in html[space:at]:
        return None
    words = html[low:space].rstrip(b" ")
    starts_line = words.endswith(b"\n") if words else html[low - 1 : low] in (b"", b"\n")
    return None if starts_line else (space, space + 1)  # there would be an empty line


def _space_after(html: bytes, at: int, high: int) -> tuple[int, int] | None:
    space = html.find(b" ", at, min(high, at + MAX_LINE))
    if space < 0 or b"<" in html[at:space] or b"\n" in html[at:space]:
        return None
    following = html[space : space + MAX_LINE].lstrip(b" ")
    return None if following[:1] in (b"", b"\r", b"\n") else (space, space + 1)  # as above
