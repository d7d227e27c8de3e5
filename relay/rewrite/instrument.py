"""The edits of the letter itself: links, pixel and unsubscribe marks in its HTML and text leaves.

In: the octets, their parts and the rules of this message.  Out: drafts, links, and the reasons why leaves
pass as they came (DESIGN §6 R1 to R6).
"""

import re
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import NamedTuple

from relay import edits
from relay.mime.parts import ROOT, Part
from relay.rewrite import html_tokenizer, line_breaks, line_length, links, lxml_check, pixel, placeholders, text_part
from relay.rewrite import plain_text_links as plain_text
from relay.rewrite.edit_templates import Coding, Draft, click, longest_url
from relay.rewrite.links import Link
from relay.rewrite.text_part import Leaf

_ARMOUR = re.compile(rb"^-----BEGIN PGP (?:SIGNED )?MESSAGE-----", re.MULTILINE)
_SPACE, _NOTHING = (b" ",), (b"",)


class Page(NamedTuple):
    """An HTML leaf that can be edited."""

    leaf: Leaf
    markup: html_tokenizer.Markup
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
        found = text_part.open_leaf(octets, part)
        if isinstance(found, Leaf):
            texts[index] = found
        elif part.type == "text/html" or (rules.text_links and found != "empty"):
            body.reasons.append(found)
    if any(b"-----BEGIN PGP " in text.octets and _ARMOUR.search(text.octets) for text in texts.values()):
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
            inner = _links_in_text(text, body, rules)
        elif index in pages:
            inner = _instrument(pages[index], body, rules, with_pixel=opens and index == last)
        else:
            continue
        body.edited[index] = inner
        body.drafts += text_part.close(text, inner)
    if not pages and not body.reasons and not any(link.decision == "tracked" for link in body.links):
        body.reasons.append("no_html")
    return body


def _links_in_text(text: Leaf, body: Body, rules: links.Rules) -> list[Draft]:
    """The drafts for one text, in its decoded offsets and in order; reports as it goes."""
    found = plain_text.instrument(text, placeholders.in_text(text.masked, rules.marks), rules, len(body.links) + 1)
    body.links += found.links
    body.reasons += found.reasons
    return found.drafts


def _page(text: Leaf) -> Page | str:
    """The leaf's markup and links, or why they are in doubt."""
    markup = html_tokenizer.skim(text.masked)
    if markup.doubt:
        return markup.doubt
    if markup.lower.count(b"href") > links.MAX_IN_PAGE:
        return "too_many_links"
    seen = lxml_check.hrefs(text.masked, has_islands=markup.has_islands)
    anchors = links.find(text.octets, markup, text.codec)
    if seen != [anchor.seen for anchor in anchors if anchor.is_live_http]:
        return "witness_disagrees"
    return Page(text, markup, anchors)


def _instrument(page: Page, body: Body, rules: links.Rules, *, with_pixel: bool) -> list[Draft]:
    """The drafts for one page, in its decoded offsets and in order; counts and reports as it goes."""
    drafts: list[Draft] = []
    tracked: list[tuple[Draft, html_tokenizer.Attribute]] = []
    for anchor in page.anchors:
        number = len(body.links) + 1
        reason, target = "too_many_links", b""
        if number <= links.MOST:
            reason, target = links.judge(anchor, rules, page.leaf.codec)
        body.links.append(Link(number, anchor.url, "skipped" if reason else "tracked", reason, anchor.text))
        if not reason:
            hole = click(rules.public_url, number, target)
            drafts.append(Draft(anchor.href.start, anchor.href.end, (hole,), "click"))
            tracked.append((drafts[-1], anchor.href))
        elif anchor.unsubscribes and "sparkpost" in rules.marks:
            hole = edits.Hole(edits.Kind.UNSUBSCRIBE)
            drafts.append(Draft(anchor.href.start, anchor.href.end, (hole,), "unsubscribe"))
            tracked.append((drafts[-1], anchor.href))
    filled = _apart_from(drafts, placeholders.in_html(page.markup, rules.marks))
    tracked += _in_hrefs(filled, page.anchors, body.links[len(body.links) - len(page.anchors) :], body)
    drafts += filled
    if with_pixel:
        at = pixel.place(page.markup)
        if at is None:
            body.reasons.append("no_place_for_pixel")
        else:
            drafts.append(Draft(at, at, pixel.TAG, "pixel"))
            body.pixels = 1
    drafts.sort(key=lambda draft: draft.start)
    if page.leaf.coding is Coding.PLAIN:
        drafts, lost = _within_lines(page, drafts, tracked, rules.public_url)
        _give_up(lost, body)
    if any(draft.why == "pixel" for draft in drafts) and _pixel_at(drafts, rules.public_url) > pixel.MAX_SHOWN:
        body.reasons.append("pixel_clipped_by_gmail")
    return drafts


def _in_hrefs(
    filled: list[Draft], anchors: list[links.Anchor], shown: list[Link], body: Body
) -> list[tuple[Draft, html_tokenizer.Attribute]]:
    """The marks' drafts that stand in an href, with it; and the report says so of the link."""
    found: list[tuple[Draft, html_tokenizer.Attribute]] = []
    n = 0
    for draft in filled:
        while n < len(anchors) and anchors[n].href.end < draft.end:
            n += 1
        if n < len(anchors) and anchors[n].href.start <= draft.start and draft.why == "unsubscribe":
            found.append((draft, anchors[n].href))
            body.links[shown[n].number - 1] = shown[n]._replace(decision="skipped", reason="unsubscribe")
    return found


def _apart_from(drafts: list[Draft], inner: list[Draft]) -> list[Draft]:
    """Those of the marks' drafts, in order, that lie in none of the others."""
    starts = [draft.start for draft in drafts]
    kept = []
    for mark in inner:
        n = bisect_left(starts, mark.end)
        if n == 0 or drafts[n - 1].end <= mark.start:
            kept.append(mark)
    return kept


class _Step(NamedTuple):
    """What happens in the text, and the draft for it, or for a line end in its place."""

    event: line_length.Event
    kept: Draft | None
    broken: Draft
    draft: Draft  # of which it is a part, or which gives room for it


def _within_lines(
    page: Page, drafts: list[Draft], tracked: list[tuple[Draft, html_tokenizer.Attribute]], public_url: str
) -> tuple[list[Draft], list[Draft]]:
    """The drafts, with line ends in tags, and at spaces beside marks, where lines would become too long; and those that
    do not fit even so."""
    text = page.leaf.octets
    whole = [line_length.Event(draft.start, draft.end, _most(draft, public_url), may_break=False) for draft in drafts]
    if line_length.fit(text, whole):  # as nearly all mail does
        return drafts, []
    places = [(draft, *gap) for draft, href in tracked for gap in line_breaks.beside(text, href)]
    in_tags = {draft for draft, _ in tracked}
    in_text = [draft for draft in drafts if draft.why == "unsubscribe" and draft not in in_tags]
    if in_text:
        places += line_breaks.around(page.markup, drafts, in_text)
    lost: list[Draft] = []
    while True:
        steps = _steps(drafts, places, public_url)
        events = [step.event for step in steps]
        chosen = line_length.breaks(text, events)
        gone: set[Draft] = set()
        for line in line_length.overfull(text, events, chosen):
            there = {steps[n].draft for n in line}
            gone |= {draft for draft in there if draft.why == "pixel"} or there
        if not gone:  # at the third time at the latest: by then no line in doubt has drafts
            break
        lost += gone
        drafts = [draft for draft in drafts if draft not in gone]
        places = [place for place in places if place[0] not in gone]
    if not chosen:
        return drafts, lost
    made = (step.broken if n in chosen else step.kept for n, step in enumerate(steps))
    return [draft for draft in made if draft and draft.pieces != _NOTHING], lost


def _steps(drafts: list[Draft], places: list[tuple[Draft, int, int]], public_url: str) -> list[_Step]:
    """What happens in the text, in order. It may be broken at the places that are left for its drafts, and around the
    pixel's attributes."""
    # A recipient who is not tracked gets the marks filled in too, and needs the line ends for them.
    why = "unsubscribe" if any(draft.why == "unsubscribe" for draft in drafts) else "line"
    steps: list[_Step] = []
    for draft in drafts:
        for piece in _apart(draft):
            event = line_length.Event(
                piece.start, piece.end, _most(piece, public_url), piece.pieces in (_SPACE, _NOTHING)
            )
            steps.append(_Step(event, piece, Draft(piece.start, piece.end, (b"\r\n",), piece.why), draft))
    known: set[int] = set()
    for draft, start, end in places:
        if start not in known:  # two drafts may share a place
            known.add(start)
            event = line_length.Event(start, end, end - start, may_break=True)
            steps.append(_Step(event, None, Draft(start, end, (b"\r\n",), why), draft))
    steps.sort(key=lambda step: step.event.start)
    return steps


def _give_up(lost: list[Draft], body: Body) -> None:
    """Reports what found no room: a line of 998 octets without white space in a tag (RFC 5322 §2.1.1)."""
    for draft in lost:
        for piece in draft.pieces:
            if draft.why == "click" and isinstance(piece, edits.Hole):
                body.links[piece.link - 1] = body.links[piece.link - 1].left("line_too_long")
        if draft.why == "pixel":
            body.pixels = 0
        if draft.why != "click":
            body.reasons.append(f"no_room_for_{draft.why}")


def _apart(draft: Draft) -> list[Draft]:
    """The draft; the pixel's as one draft for each place where it may be broken, and what stands between."""
    if draft.why != "pixel":
        return [draft]
    source, hole, rest = pixel.ATTRIBUTES
    groups: tuple[tuple[edits.Piece, ...], ...] = ((pixel.HEAD,), _SPACE, (source, hole, rest), _NOTHING, (pixel.END,))
    return [Draft(draft.start, draft.end, group, draft.why) for group in groups]


def _pixel_at(drafts: list[Draft], public_url: str) -> int:
    """Where the pixel ends once the page is filled in."""
    last = max(n for n, draft in enumerate(drafts) if draft.why == "pixel")
    growth = sum(_most(draft, public_url) - (draft.end - draft.start) for draft in drafts[: last + 1])
    return drafts[last].end + growth


def _most(draft: Draft, public_url: str) -> int:
    """How many octets the draft can take."""
    return sum(len(piece) if isinstance(piece, bytes) else longest_url(public_url, piece) for piece in draft.pieces)
