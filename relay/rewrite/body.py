"""The edits of the letter itself: links, pixel and unsubscribe marks in its HTML and text leaves.

In: the octets, their parts and the rules of this message.  Out: drafts, links, and the reasons why leaves
pass as they came (DESIGN §6 R1 to R6).
"""

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from relay import edits
from relay.rewrite import leaf, lines, links, pixel, tags, unsubscribe, witness
from relay.rewrite.drafts import Coding, Draft, longest_url
from relay.rewrite.leaf import Leaf
from relay.rewrite.links import Link
from relay.rewrite.parts import ROOT, Part

_ARMOUR = re.compile(rb"^-----BEGIN PGP (?:SIGNED )?MESSAGE-----", re.MULTILINE)
_SPACE, _NOTHING = (b" ",), (b"",)
_ISLANDS = frozenset({b"template", b"svg", b"math"})


class Page(NamedTuple):
    """An HTML leaf that can be edited."""

    leaf: Leaf
    markup: tags.Markup
    anchors: list[links.Anchor]


@dataclass(slots=True)
class Body:
    """What is to be done to the letter."""

    drafts: list[Draft] = field(default_factory=list)
    edited: dict[int, list[Draft]] = field(default_factory=dict)  # by part, in decoded offsets
    links: list[Link] = field(default_factory=list)
    pixels: int = 0
    reasons: list[str] = field(default_factory=list)


def read(octets: bytes, parts: list[Part], rules: links.Rules, *, opens: bool) -> Body:
    """The drafts for the letter, in order. A leaf in doubt has none, and a reason."""
    body = Body()
    texts: dict[int, Leaf] = {}
    pages: dict[int, Page] = {}
    for index, part in enumerate(parts):
        if part.sealed and (part.parent == ROOT or not parts[part.parent].sealed):
            body.reasons.append(part.sealed)
        if part.sealed or part.is_file or part.type not in ("text/html", "text/plain"):
            continue
        found = leaf.open_leaf(octets, part)
        if isinstance(found, Leaf):
            texts[index] = found
        elif part.type == "text/html":
            body.reasons.append(found)
    if any(_ARMOUR.search(text.octets) for text in texts.values()):
        body.reasons.append("pgp_armour")
        return body
    for index, text in texts.items():
        if text.part.type == "text/html":
            page = _page(text)
            if isinstance(page, Page):
                pages[index] = page
            else:
                body.reasons.append(page)
    last = max(pages, default=-1)
    for index, text in texts.items():
        if text.part.type == "text/plain":
            inner = unsubscribe.links(text.masked)
        elif index in pages:
            inner = _instrument(pages[index], body, rules, with_pixel=opens and index == last)
        else:
            continue
        body.edited[index] = inner
        body.drafts += leaf.close(text, inner)
    if not pages and not body.reasons:
        body.reasons.append("no_html")
    return body


def _page(text: Leaf) -> Page | str:
    """The leaf's markup and links, or why they are in doubt."""
    markup = tags.read(text.masked)
    if markup.doubt:
        return markup.doubt
    has_islands = any(tag.name in _ISLANDS for tag in markup.tags)
    seen = witness.hrefs(text.masked, has_islands=has_islands)
    anchors = links.find(text.octets, text.masked, markup, text.codec)
    if seen != [anchor.seen for anchor in anchors if anchor.is_live_http]:
        return "witness_disagrees"
    return Page(text, markup, anchors)


def _instrument(page: Page, body: Body, rules: links.Rules, *, with_pixel: bool) -> list[Draft]:
    """The drafts for one page, in its decoded offsets and in order; counts and reports as it goes."""
    drafts = unsubscribe.links(page.leaf.masked)
    tracked: list[links.Anchor] = []
    for anchor in page.anchors:
        reason, target = links.judge(anchor, rules, page.leaf.codec)
        number = len(body.links) + 1
        body.links.append(Link(number, anchor.url, "skipped" if reason else "tracked", reason, anchor.text))
        if not reason:
            hole = edits.Hole(edits.Kind.CLICK, number, target)
            drafts.append(Draft(anchor.href.start, anchor.href.end, (hole,), "click"))
            tracked.append(anchor)
    if with_pixel:
        at = pixel.place(page.leaf.masked, page.markup)
        if at is None:
            body.reasons.append("no_place_for_pixel")
        else:
            drafts.append(Draft(at, at, pixel.TAG, "pixel"))
            body.pixels = 1
    drafts.sort(key=lambda draft: draft.start)
    if page.leaf.coding is Coding.PLAIN:
        return _within_lines(page.leaf.octets, drafts, tracked, rules.public_url)
    return drafts


def _within_lines(text: bytes, drafts: list[Draft], tracked: list[links.Anchor], public_url: str) -> list[Draft]:
    """The drafts, with line ends in tags where lines would become too long."""
    # What happens in the text, and the draft if it becomes a line end: before and after an href, before and
    # after the pixel's attributes.
    steps: list[tuple[lines.Event, Draft | None, Draft | None]] = []
    for draft in drafts:
        for piece in _apart(draft):
            length = sum(_longest(octets, public_url) for octets in piece.pieces)
            may_break = piece.pieces in (_SPACE, _NOTHING)
            broken = Draft(piece.start, piece.end, (b"\r\n",), piece.why)
            steps.append((lines.Event(piece.start, piece.end, length, may_break), piece, broken))
    for anchor in tracked:
        for start, end in _gaps(text, anchor.href):
            broken = Draft(start, end, (b"\r\n",), "line")
            steps.append((lines.Event(start, end, end - start, may_break=True), None, broken))
    steps.sort(key=lambda step: step[0].start)
    chosen = lines.breaks(text, [event for event, _, _ in steps])
    if not chosen:
        return drafts
    made = (broken if n in chosen else kept for n, (_, kept, broken) in enumerate(steps))
    return [draft for draft in made if draft and draft.pieces != _NOTHING]


def _apart(draft: Draft) -> list[Draft]:
    """The draft; the pixel's as one draft for each place where it may be broken, and what stands between."""
    if draft.why != "pixel":
        return [draft]
    source, hole, rest = pixel.ATTRIBUTES
    groups: tuple[tuple[edits.Piece, ...], ...] = ((pixel.HEAD,), _SPACE, (source, hole, rest), _NOTHING, (pixel.END,))
    return [Draft(draft.start, draft.end, group, draft.why) for group in groups]


def _gaps(text: bytes, href: tags.Attribute) -> list[tuple[int, int]]:
    """The spans before and after an href that may become a line end without a change of meaning."""
    gaps = []
    if text[href.named - 1 : href.named] in (b" ", b"\t"):
        gaps.append((href.named - 1, href.named))
    has_space = text[href.after : href.after + 1] in (b" ", b"\t")
    return [*gaps, (href.after, href.after + has_space)]


def _longest(piece: edits.Piece, public_url: str) -> int:
    """How many octets the piece can take."""
    return len(piece) if isinstance(piece, bytes) else longest_url(public_url, piece)
