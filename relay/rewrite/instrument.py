"""The edits of the body: links, pixel and unsubscribe placeholders in its HTML and text leaves.

In: the octets, their parts and the rules of this message.  Out: templates, links, and the reasons why leaves
pass as they came (docs/rewriting.md#which-parts).
"""

import re
from bisect import bisect_left
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from relay import edits
from relay.mime.parts import ROOT, Part
from relay.rewrite import (
    html_attributes,
    html_tokenizer,
    line_breaks,
    line_length,
    links,
    lxml_check,
    pixel,
    placeholders,
    text_part,
)
from relay.rewrite import plain_text_links as plain_text
from relay.rewrite.anchors import Anchor, find_anchors
from relay.rewrite.edit_templates import EditTemplate, TransferEncoding, click_hole, max_url_octets, new_template
from relay.rewrite.links import Link
from relay.rewrite.text_part import EditedPart, TextPart

_ARMOUR = re.compile(rb"^-----BEGIN PGP (?:SIGNED )?MESSAGE-----", re.MULTILINE)
_SPACE, _NOTHING = (b" ",), (b"",)
_PLAIN = TransferEncoding.PLAIN
_link = partial(tuple.__new__, Link)  # half the time that Link(…) takes


class HtmlPart(NamedTuple):
    """An HTML leaf that can be edited."""

    leaf: TextPart
    markup: html_tokenizer.Markup
    anchors: list[Anchor]


@dataclass(slots=True)
class BodyEdits:
    """What is to be done to the body."""

    templates: list[EditTemplate] = field(default_factory=list)
    edited_parts: dict[int, EditedPart] = field(default_factory=dict)  # by the part's index
    decoded: dict[int, bytes] = field(default_factory=dict)  # as `edit_templates.fill_templates` wants it
    links: list[Link] = field(default_factory=list)
    pixels: int = 0
    reasons: list[str] = field(default_factory=list)


def instrument_parts(octets: bytes, parts: list[Part], rules: links.LinkRules, *, opens: bool) -> BodyEdits:
    """The templates for the body, in order. A leaf in doubt has none, and a reason."""
    body = BodyEdits()
    texts: dict[int, TextPart] = {}
    pages: dict[int, HtmlPart] = {}
    for index, part in enumerate(parts):
        if part.sealed and (part.parent == ROOT or not parts[part.parent].sealed):
            body.reasons.append(part.sealed)
        if part.sealed or part.is_file or part.type not in ("text/html", "text/plain"):
            continue
        found = text_part.decode_part(octets, part)
        if isinstance(found, TextPart):
            texts[index] = found
        elif part.type == "text/html" or (rules.text_links and found != "empty"):
            body.reasons.append(found)
    if any(b"-----BEGIN PGP " in text.octets and _ARMOUR.search(text.octets) for text in texts.values()):
        body.reasons.append("pgp_armour")
        return body
    for index, text in texts.items():
        if text.part.type == "text/html":
            page = _parse_html(text)
            if isinstance(page, HtmlPart):
                pages[index] = page
            else:
                body.reasons.append(page)
    last = max(pages, default=-1)
    for index, text in texts.items():
        if text.part.type == "text/plain":
            edited = _instrument_text(text, body, rules)
        elif index in pages:
            edited = _instrument_html(pages[index], body, rules, with_pixel=opens and index == last)
        else:
            continue
        if edited and edited.templates:
            _add_templates(body, index, edited)
    if not pages and not body.reasons and not any(link.decision == "tracked" for link in body.links):
        body.reasons.append("no_html")
    return body


def _add_templates(body: BodyEdits, index: int, edited_part: EditedPart) -> None:
    body.edited_parts[index] = edited_part
    made = text_part.to_message_offsets(edited_part)
    body.templates += made
    if edited_part.leaf.coding is TransferEncoding.BASE64:
        body.decoded[made[0].start] = edited_part.leaf.octets


def _instrument_text(text: TextPart, body: BodyEdits, rules: links.LinkRules) -> EditedPart | None:
    """What is done to one text, None for nothing; reports as it goes."""
    filled = placeholders.find_in_text(text.masked, rules.placeholder_dialects)
    if not filled and not rules.text_links:
        return None
    found = plain_text.instrument_text(text, filled, rules, len(body.links) + 1)
    body.links += found.links
    body.reasons += found.reasons
    return text_part.edit_part(text, found.templates, rules.public_url)


def _parse_html(text: TextPart) -> HtmlPart | str:
    """The leaf's markup and links, or why they are in doubt."""
    markup = html_tokenizer.tokenize_fast(text.masked)
    if markup.ambiguity:
        return markup.ambiguity
    if len(text.masked) > len(b"href") * links.MAX_IN_PAGE and markup.lower.count(b"href") > links.MAX_IN_PAGE:
        return "too_many_links"
    anchors = find_anchors(text.octets, markup, text.codec)
    seen = [anchor.latin1_url for anchor in anchors if not anchor.is_conditional]
    if not lxml_check.sees_links(text.masked, seen, has_foreign_content=markup.has_foreign_content):
        return "parsers_disagree"
    return HtmlPart(text, markup, anchors)


def _instrument_html(page: HtmlPart, body: BodyEdits, rules: links.LinkRules, *, with_pixel: bool) -> EditedPart:
    """What is done to one page; counts and reports as it goes."""
    templates: list[EditTemplate] = []
    tracked: list[tuple[EditTemplate, html_attributes.Attribute]] = []
    decisions: links.UrlDecisions = {}
    for anchor in page.anchors:
        number = len(body.links) + 1
        reason, target = "too_many_links", b""
        if number <= links.MAX_TRACKED:
            reason, target = links.decide_anchor(anchor, rules, page.leaf.codec, decisions)
        body.links.append(_link((number, anchor.url, "skipped" if reason else "tracked", reason, anchor.text)))
        if not reason:
            hole = click_hole(rules.public_url, number, target)
            templates.append(new_template((anchor.href.start, anchor.href.end, (hole,), "click", _PLAIN, 0, ())))
            tracked.append((templates[-1], anchor.href))
        elif anchor.unsubscribes and "sparkpost" in rules.placeholder_dialects:
            hole = edits.Hole(edits.Kind.UNSUBSCRIBE)
            templates.append(EditTemplate(anchor.href.start, anchor.href.end, (hole,), "unsubscribe"))
            tracked.append((templates[-1], anchor.href))
    filled = _leave_out_overlaps(templates, placeholders.find_in_html(page.markup, rules.placeholder_dialects))
    tracked += _find_in_hrefs(filled, page.anchors, body.links[len(body.links) - len(page.anchors) :], body)
    templates += filled
    if with_pixel:
        at = pixel.find_place(page.markup)
        if at is None:
            body.reasons.append("no_place_for_pixel")
        else:
            templates.append(EditTemplate(at, at, pixel.TAG, "pixel"))
            body.pixels = 1
    templates.sort(key=lambda template: template.start)
    edited = text_part.edit_part(page.leaf, templates, rules.public_url)
    size = len(edited.longest_text)
    if edited.has_long_line:
        templates, lost = _fit_into_lines(page, templates, tracked, rules.public_url)
        _report_unfit(lost, body)
        edited = text_part.edit_part(page.leaf, templates, rules.public_url)
    has_pixel = size > pixel.MAX_SHOWN and any(template.why == "pixel" for template in templates)
    if has_pixel and _pixel_end(templates, rules.public_url) > pixel.MAX_SHOWN:
        body.reasons.append("pixel_clipped_by_gmail")
    return edited


def _find_in_hrefs(
    placeholder_templates: list[EditTemplate], anchors: list[Anchor], links: list[Link], body: BodyEdits
) -> list[tuple[EditTemplate, html_attributes.Attribute]]:
    """The placeholders' templates that stand in an href, with it; and the report says so of the link."""
    found: list[tuple[EditTemplate, html_attributes.Attribute]] = []
    n = 0
    for template in placeholder_templates:
        while n < len(anchors) and anchors[n].href.end < template.end:
            n += 1
        if n < len(anchors) and anchors[n].href.start <= template.start and template.why == "unsubscribe":
            found.append((template, anchors[n].href))
            body.links[links[n].number - 1] = links[n]._replace(decision="skipped", reason="unsubscribe")
    return found


def _leave_out_overlaps(templates: list[EditTemplate], inner: list[EditTemplate]) -> list[EditTemplate]:
    """Those of the placeholders' templates, in order, that lie in none of the others."""
    starts = [template.start for template in templates]
    kept = []
    for placeholder in inner:
        n = bisect_left(starts, placeholder.end)
        if n == 0 or templates[n - 1].end <= placeholder.start:
            kept.append(placeholder)
    return kept


class _LineStep(NamedTuple):
    """What happens in the text, and the template for it, or for a line end in its place."""

    event: line_length.LineEdit
    own_template: EditTemplate | None
    line_end: EditTemplate
    template: EditTemplate  # of which it is a part, or which gives room for it


def _fit_into_lines(
    page: HtmlPart,
    templates: list[EditTemplate],
    tracked: list[tuple[EditTemplate, html_attributes.Attribute]],
    public_url: str,
) -> tuple[list[EditTemplate], list[EditTemplate]]:
    """The templates that fit, and those that do not.

    Where lines would become too long, line ends are put into tags and at spaces beside placeholders.
    """
    text = page.leaf.octets
    whole = [
        line_length.LineEdit(template.start, template.end, _max_length(template, public_url), may_break=False)
        for template in templates
    ]
    if line_length.all_fit(text, whole):  # the long lines are the author's
        return templates, []
    places = [(template, *gap) for template, href in tracked for gap in line_breaks.spaces_beside(text, href)]
    in_tags = {template for template, _ in tracked}
    in_text = [template for template in templates if template.why == "unsubscribe" and template not in in_tags]
    if in_text:
        places += line_breaks.spaces_around(page.markup, templates, in_text)
    lost: list[EditTemplate] = []
    while True:
        steps = _steps(templates, places, public_url)
        events = [step.event for step in steps]
        chosen = line_length.choose_breaks(text, events)
        gone: set[EditTemplate] = set()
        for line in line_length.lines_too_long(text, events, chosen):
            there = {steps[n].template for n in line}
            gone |= {template for template in there if template.why == "pixel"} or there
        if not gone:  # at the third time at the latest: by then no line in doubt has templates
            break
        lost += gone
        templates = [template for template in templates if template not in gone]
        places = [place for place in places if place[0] not in gone]
    if not chosen:
        return templates, lost
    made = (step.line_end if n in chosen else step.own_template for n, step in enumerate(steps))
    return [template for template in made if template and template.pieces != _NOTHING], lost


def _steps(
    templates: list[EditTemplate], places: list[tuple[EditTemplate, int, int]], public_url: str
) -> list[_LineStep]:
    """The steps in the order of the text. It may be broken at these places, and around the pixel's attributes."""
    # A recipient who is not tracked gets the placeholders filled in too, and needs the line ends for them.
    why = "unsubscribe" if any(template.why == "unsubscribe" for template in templates) else "line"
    steps: list[_LineStep] = []
    for template in templates:
        for piece in _split_pixel(template):
            event = line_length.LineEdit(
                piece.start, piece.end, _max_length(piece, public_url), piece.pieces in (_SPACE, _NOTHING)
            )
            steps.append(_LineStep(event, piece, EditTemplate(piece.start, piece.end, (b"\r\n",), piece.why), template))
    known: set[int] = set()
    for template, start, end in places:
        if start not in known:  # two templates may share a place
            known.add(start)
            event = line_length.LineEdit(start, end, end - start, may_break=True)
            steps.append(_LineStep(event, None, EditTemplate(start, end, (b"\r\n",), why), template))
    steps.sort(key=lambda step: step.event.start)
    return steps


def _report_unfit(unfit: list[EditTemplate], body: BodyEdits) -> None:
    """Reports what found no room: a line of 998 octets without white space in a tag (RFC 5322 §2.1.1)."""
    for template in unfit:
        for piece in template.pieces:
            if template.why == "click" and isinstance(piece, edits.Hole):
                body.links[piece.link - 1] = body.links[piece.link - 1].as_skipped("line_too_long")
        if template.why == "pixel":
            body.pixels = 0
        if template.why != "click":
            body.reasons.append(f"no_room_for_{template.why}")


def _split_pixel(template: EditTemplate) -> list[EditTemplate]:
    """The template; the pixel's as one template for each place where it may be broken, and what stands between."""
    if template.why != "pixel":
        return [template]
    source, hole, rest = pixel.ATTRIBUTES
    groups: tuple[tuple[edits.Piece, ...], ...] = ((pixel.HEAD,), _SPACE, (source, hole, rest), _NOTHING, (pixel.END,))
    return [EditTemplate(template.start, template.end, group, template.why) for group in groups]


def _pixel_end(templates: list[EditTemplate], public_url: str) -> int:
    """Where the pixel ends once the page is filled in."""
    last = max(n for n, template in enumerate(templates) if template.why == "pixel")
    growth = sum(
        _max_length(template, public_url) - (template.end - template.start) for template in templates[: last + 1]
    )
    return templates[last].end + growth


def _max_length(template: EditTemplate, public_url: str) -> int:
    """How many octets the template can take."""
    return sum(
        len(piece) if isinstance(piece, bytes) else max_url_octets(public_url, piece) for piece in template.pieces
    )
