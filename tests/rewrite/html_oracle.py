"""What two HTML parsers say about instrumented mail: html5lib link by link, lexbor as the second referee.

In: its HTML texts before and after, and the plan.  Out: a OracleVerdict, with every difference in words.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple
from xml.etree import ElementTree

import html5lib
from html5lib.treebuilders import getTreeBuilder
from selectolax.lexbor import LexborHTMLParser

from relay import edits, tokens
from relay.rewrite import link_url, plan
from tests.rewrite.mails import PUBLIC_URL, RING

_CLICK, _OPEN = f"{PUBLIC_URL}/c/", f"{PUBLIC_URL}/o/"
_XHTML = "{http://www.w3.org/1999/xhtml}"
_DEAD = (f"{_XHTML}template", "{http://www.w3.org/2000/svg}svg", "{http://www.w3.org/1998/Math/MathML}math")
_COMMENT = "comment"
_CONDITION = re.compile(r"\s*\[if\b", re.IGNORECASE)
_HREF = re.compile(r"""\s*\bhref\s*=\s*(?:"[^"]*"|'[^']*'|[^\s>"']+)\s*""", re.IGNORECASE)
_PIXEL = re.compile(rf'<img src="{re.escape(_OPEN)}[^>]*>')
# What an author left open, a browser opens again around what follows: §13.2.4.3, the list of active formatting
# elements. Around the pixel alone it shows nothing.
_FORMATTING = "a|b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u"
_REOPENED = re.compile(rf"<({_FORMATTING})(?: [^<>]*)?>\0</\1>")
_REOPENED_NAMES = frozenset(f"/{_XHTML}{name}" for name in _FORMATTING.split("|"))

Node = tuple[str, dict[str, str], str, bool]  # name, attributes, the text behind the tag, whether it is live


@dataclass(slots=True)
class OracleVerdict:
    """How one document came through."""

    differences: list[str] = field(default_factory=list)
    links: int = 0  # live http(s) hrefs of `a` and `area` in the parser's tree
    accounted_for: int = 0  # those of them that lead there by our URL, or that the plan skipped
    conditional: int = 0  # the same in `<!--[if …]>` comments, with VML's
    conditional_found: int = 0
    claimed: int = 0  # links that the plan tracks
    right: int = 0  # those of them that are links in the tree or in a conditional comment


class Page(NamedTuple):
    """An HTML text before and after, and the codec that a browser reads it with."""

    before: str
    after: str
    codec: str


def compare(pages: list[Page], planned: plan.Plan) -> OracleVerdict:
    """The verdict on a mail. The texts are read as mail readers do, with scripts off."""
    verdict = OracleVerdict()
    skipped = {link.url for link in planned.links if link.decision == "skipped"}
    numbers: set[int] = set()
    pixels = 0
    for page in pages:
        old, tree = _flat(_parsed(page.before)), _parsed(page.after)
        new = _flat(tree)
        if len(old) != len(new):
            new = _flat(tree, without_reopened=True)
        _pair(old, new, verdict, numbers, skipped, page.codec)
        seen, count = _PIXEL.subn("\0", _lexbor(page.after))
        pixels += count
        if _lexbor(page.before) not in (seen.replace("\0", ""), _without_reopened(seen)):
            verdict.differences.append("lexbor sees another document")
    claimed = {link.number for link in planned.links if link.decision == "tracked"}
    verdict.claimed, verdict.right = len(claimed), len(claimed & numbers)
    verdict.differences += [f"link {number} is no link" for number in sorted(claimed - numbers)]
    if pixels != planned.pixels:
        verdict.differences.append(f"{pixels} pixels")
    return verdict


def count(html: str) -> int:
    """How many links the document has to lexbor; html5lib stumbles over some of what we do not touch."""
    found = LexborHTMLParser(html).css("a[href], area[href]")
    urls = (link_url.trim_url(node.attributes.get("href") or "") for node in found)
    return sum(link_url.find_scheme(url) in ("http", "https") for url in urls)


def _pair(
    old: list[Node], new: list[Node], verdict: OracleVerdict, numbers: set[int], skipped: set[str], codec: str
) -> None:
    """Compare node by node, and count the links."""
    for (name, was, text, is_live), (name_now, now, text_now, _) in zip(old, new, strict=False):
        if name == name_now == _COMMENT and _CONDITION.match(text):
            _pair_inside(text, text_now, verdict, numbers, skipped, codec)
            continue
        if (name, text) != (name_now, text_now):
            verdict.differences.append(f"{name} {text[:60]!r} became {name_now} {text_now[:60]!r}")
            return
        if is_live and _is_link(name, was, is_conditional=False):
            verdict.links += 1
            verdict.accounted_for += _is_found(was, now, verdict, numbers, skipped, codec)
        if was != now:
            verdict.differences.append(f"{name} {was} became {now}")
    if len(old) != len(new):
        verdict.differences.append(f"{len(old)} nodes became {len(new)}")


def _pair_inside(old: str, new: str, verdict: OracleVerdict, numbers: set[int], skipped: set[str], codec: str) -> None:
    """The same for the inside of a conditional comment, which is markup to Outlook."""
    before, after = (_flat(html5lib.parseFragment(text, treebuilder="etree")) for text in (old, new))
    links = [
        (was, now)
        for (name, was, _, _), (_, now, _, _) in zip(before, after, strict=False)
        if _is_link(name, was, is_conditional=True)
    ]
    verdict.conditional += len(links)
    verdict.conditional_found += sum(_is_found(was, now, verdict, numbers, skipped, codec) for was, now in links)
    if before != after:
        verdict.differences.append(f"a conditional comment changed: {old[:60]!r}")


def _is_link(name: str, attributes: dict[str, str], *, is_conditional: bool) -> bool:
    local = name.removeprefix(_XHTML)
    if local not in ("a", "area") and not (is_conditional and local.startswith("v:")):
        return False
    return link_url.find_scheme(link_url.trim_url(attributes.get("href", ""))) in ("http", "https")


def _is_found(
    was: dict[str, str], now: dict[str, str], verdict: OracleVerdict, numbers: set[int], skipped: set[str], codec: str
) -> bool:
    """True if the link leads where it led, or is skipped. Its hrefs are taken out where they are as they should be."""
    url = link_url.trim_url(was["href"])
    if not now.get("href", "").startswith(_CLICK):
        if url not in skipped:
            verdict.differences.append(f"missed {url[:80]}")
        return url in skipped
    try:
        token = RING.read_token(edits.Kind.CLICK, now["href"].removeprefix(_CLICK))
    except tokens.InvalidTokenError:
        verdict.differences.append(f"not a token: {now['href'][:80]}")
        return False
    if token.url != link_url.to_location(url, codec):
        verdict.differences.append(f"{url[:80]} leads to {token.url[:80]!r}")
        return False
    numbers.add(token.link)
    del was["href"], now["href"]
    return True


def _parsed(html: str) -> ElementTree.Element:
    builder = getTreeBuilder("etree", fullTree=True)
    root: ElementTree.Element = html5lib.HTMLParser(builder).parse(html)
    return root


def _flat(root: ElementTree.Element, *, without_reopened: bool = False) -> list[Node]:
    """The tree as a list of its tags, without the pixel, and perhaps without what was opened again for it."""
    flat: list[Node] = []
    pixel_at = -1
    for name, attributes, text, is_live in _walk(root):
        if name == f"{_XHTML}img" and attributes.get("src", "").startswith(_OPEN):
            continue
        if name == f"/{_XHTML}img" and attributes:  # the pixel's end
            pixel_at = len(flat)
        elif (
            without_reopened
            and pixel_at == len(flat)
            and name in _REOPENED_NAMES
            and (f"/{flat[-1][0]}", flat[-1][2]) == (name, "")
        ):
            flat.pop()
            pixel_at = len(flat)
        else:
            flat.append((name, attributes, text, is_live))
            continue
        before = flat[-1]  # what follows the dropped joins what stood before
        flat[-1] = (before[0], before[1], before[2] + text, before[3])
    return flat


def _walk(root: ElementTree.Element) -> Iterator[Node]:
    """Start and end tags in order; a pixel's end tag bears a mark. Without recursion: mail nests deeper than Python."""
    waiting: list[tuple[ElementTree.Element, bool, bool]] = [(root, True, False)]
    while waiting:
        element, is_live, is_end = waiting.pop()
        name = str(element.tag) if isinstance(element.tag, str) else _COMMENT
        if is_end:
            is_pixel = element.get("src", "").startswith(_OPEN)
            yield f"/{name}", {"pixel": ""} if is_pixel else {}, element.tail or "", is_live
            continue
        yield name, dict(element.attrib), element.text or "", is_live
        waiting.append((element, is_live, True))
        inside = is_live and name not in _DEAD
        waiting += [(child, inside, False) for child in reversed(element)]


def _lexbor(html: str) -> str:
    """The document as lexbor would write it, without hrefs."""
    return _HREF.sub(" href ", LexborHTMLParser(html).html or "")


def _without_reopened(html: str) -> str:
    while html != (html := _REOPENED.sub("\0", html)):
        pass
    return html.replace("\0", "")
