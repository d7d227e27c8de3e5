"""Which link of a mail was clicked how often by people, drawn over the mail itself.

In: the mail's HTML, and its links with their clicks.  Out: the same HTML with a mark on each link: its number, its
clicks, and a colour by their share of the most clicked one's. Marks take no room, so that the mail stays as it is laid
out. They are elements and a style sheet, which the frame's policy lets in; there is no script.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from relay.rewrite import anchors, html_tokenizer
from relay.rewrite.anchors import Anchor

MAX_LEVEL = 4
MAX_MARKED = 500  # links
_STYLE = """<style>
[data-waypost-heat] { outline: 2px solid #5b6b66 !important; outline-offset: 2px !important }
[data-waypost-heat="1"] { outline-color: #c9a227 !important }
[data-waypost-heat="2"] { outline-color: #d97b16 !important }
[data-waypost-heat="3"] { outline-color: #cf4a1f !important }
[data-waypost-heat="4"] { outline-color: #a3121f !important }
.waypost-heat { all: initial; position: relative !important; display: inline-block !important; width: 0 !important;
  height: 0 !important; overflow: visible !important; vertical-align: top !important }
.waypost-heat b { all: initial; position: absolute !important; left: -6px !important; top: -12px !important;
  z-index: 2147483647 !important; padding: 1px 5px !important; border-radius: 8px !important;
  font: bold 11px/14px sans-serif !important; white-space: nowrap !important;
  background: #5b6b66 !important; color: #fff !important }
[data-waypost-heat="1"] .waypost-heat b { background: #f4d35e !important; color: #2b2200 !important }
[data-waypost-heat="2"] .waypost-heat b { background: #f6a04d !important; color: #2b1600 !important }
[data-waypost-heat="3"] .waypost-heat b { background: #c8431a !important }
[data-waypost-heat="4"] .waypost-heat b { background: #a3121f !important }
</style>"""
Link = Mapping[str, Any]  # Any: as the rewriting reported it; `clicks` has the counts by verdict


def mark_links(html: str, links: Sequence[Link]) -> str:
    """The HTML with its marks; without, if its links cannot be told for sure."""
    octets = html.encode("utf-8", "replace")
    markup = html_tokenizer.tokenize_fast(octets)
    if markup.ambiguity:
        return html
    levels = heat_levels(links)
    made, at = [], 0
    for anchor, link in _pair_with_links(anchors.find_anchors(octets, markup, "utf-8"), links)[:MAX_MARKED]:
        tag, number = anchor.tag, int(link.get("number", 0))
        attribute = f' data-waypost-heat="{levels[number]}"'
        clicks = _human_clicks(link)
        mark = f'<span class="waypost-heat"><b>{number}: {clicks:,}</b></span>' if tag.name == b"a" else ""
        made += [octets[at : tag.inner], attribute.encode(), octets[tag.inner : tag.end], mark.encode()]
        at = tag.end
    return b"".join([*made, octets[at:]]).decode("utf-8") + _STYLE


def heat_levels(links: Sequence[Link]) -> dict[int, int]:
    """Of each link by its number: 0 where nobody clicked, else 1 to MAX_LEVEL, the last for the most clicked."""
    most = max((_human_clicks(link) for link in links), default=0)
    return {int(link.get("number", 0)): -(-_human_clicks(link) * MAX_LEVEL // most) if most else 0 for link in links}


def _human_clicks(link: Link) -> int:
    return int(link["clicks"]["human"])


def _pair_with_links(anchors: Sequence[Anchor], links: Sequence[Link]) -> list[tuple[Anchor, Link]]:
    """Each tracked link of the page with its entry. Both are in the mail's order; the entries have those of its other
    parts, too. The same URL may be there many times, so that the label counts as well."""
    pairs, at = [], 0
    places: dict[tuple[str, str], deque[int]] = {}
    for n, link in enumerate(links):
        places.setdefault((str(link.get("url", "")), str(link.get("text", ""))), deque()).append(n)
    for anchor in anchors:
        same = places.get((anchor.url, anchor.text), deque())
        while same and same[0] < at:
            same.popleft()
        if not same:
            continue
        place = same.popleft()
        at = place + 1
        if not anchor.is_conditional and links[place].get("decision") == "tracked":
            pairs.append((anchor, links[place]))
    return pairs
