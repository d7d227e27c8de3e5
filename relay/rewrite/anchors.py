"""The links of an HTML text, and the label of each.

In: HTML octets and their markup.  Out: every href in document order, with its span, its URL, its label, and whether its
element opts out of tracking. `links` decides which ones are tracked.
"""

import html as entities
import re
from functools import partial
from typing import NamedTuple

from relay.mime import charset
from relay.rewrite import html_attributes, html_tokenizer, link_url

_MAX_LABEL = 200  # characters
_MAX_TAGS_IN_LABEL = 100
_MAX_END_DISTANCE = 30  # tags of those that `tokenize_fast` returns
HTTP = ("http", "https")
_NAMES = (b"a", b"area")
_NO_TEXT = frozenset({b"style", b"script", b"title", b"textarea", b"noframes", b"xmp", b"iframe", b"noembed"})
# Text and tags that neither hide nor show anything; without an ampersand a tag could cut in two.
_INLINE_TAG = re.compile(
    rb"</?(?:b|i|u|em|strong|span|font|br|center|small|big|w:anchorlock)(?:[\s/][^<>\"']*+(?:\"[^<>\"]*+\"[^<>\"']*+)*+)?>",
    re.I,
)
_PLAIN_LABEL = re.compile(rb"[^<]*+(?:%b[^<&]*+)*+" % _INLINE_TAG.pattern)
_PICTURE = re.compile(rb"\s*+<img%b\s*+" % html_attributes.plain_attributes(b"alt"))
_NOT_TEXT = re.compile(rb"<!--.*?(?:-->|\Z)|<[!?/][^>]*+(?:>|\Z)", re.DOTALL)
# The attributes by which an app of any provider exempts a link, with the values that mean it.
_OPT_OUTS: dict[bytes, frozenset[bytes] | None] = {
    b"clicktracking": frozenset({b"off", b"false", b"no", b"0"}),  # SendGrid
    b"data-pm-no-track": None,  # Postmark; there its presence is enough
    b"ses:no-track": None,  # Amazon
    b"mc:disable-tracking": None,  # Mandrill
    b"data-msys-clicktrack": frozenset({b"0", b"false", b"off", b"no"}),  # SparkPost
    b"disable-tracking": frozenset({b"", b"true", b"yes", b"1", b"disable-tracking"}),  # Mailgun
    b"data-no-track": None,
}
_MSYS = b"data-msys-unsubscribe"


class Anchor(NamedTuple):
    """An element with an href; spans count in the HTML octets."""

    tag: html_attributes.Tag
    href: html_attributes.Attribute
    is_conditional: bool  # inside `<!--[if …]>`
    url: str
    latin1_url: str  # the URL as a reader of Latin-1 sees it, for `lxml_check`
    text: str
    opts_out: bool
    unsubscribes: bool = False  # SparkPost makes it an unsubscribe link


_anchor = partial(tuple.__new__, Anchor)  # half the time that Anchor(…) takes


def find_anchors(html: bytes, markup: html_tokenizer.Markup, codec: str) -> list[Anchor]:
    """Every live href, and those of Outlook's conditional comments, in document order."""
    found = _anchors(html, markup, codec, is_conditional=False)
    for start, end in markup.conditions:
        if markup.lower.find(b"href", start, end) < 0:  # most are tables for Outlook
            continue
        inside = markup.tokenize_fast_within(start, end)
        if not inside.ambiguity:
            found += _anchors(html, inside, codec, is_conditional=True)
    if markup.conditions:
        found.sort(key=lambda anchor: anchor.tag.start)
    return found


def _anchors(html: bytes, markup: html_tokenizer.Markup, codec: str, *, is_conditional: bool) -> list[Anchor]:
    masked, lower, found = markup.html, markup.lower, markup.tags
    anchors: list[Anchor] = []
    urls: dict[bytes, tuple[str, str]] = {}  # by the href's octets: pictures and buttons repeat them
    for n, tag in enumerate(found):
        name, _, inner, end, is_closing, is_live = tag
        is_link = name in _NAMES or (is_conditional and name.startswith(b"v:"))
        if not is_link or is_closing or not is_live:
            continue
        opts_out = unsubscribes = False
        is_plain = lower.find(b"-track", inner, end) < 0 and lower.find(b"ktrack", inner, end) < 0
        is_plain = is_plain and lower.find(b"data-msys-", inner, end) < 0  # no attribute says anything about the link
        href = html_attributes.read_href(lower, tag) if is_plain else None
        if href is None:
            attributes = html_attributes.read_attributes(lower, tag)
            href = attributes.get(b"href")
            opts_out = _opts_out(lower, attributes)
            unsubscribes = _unsubscribes(lower, attributes)
        if href is None:
            continue
        raw = html[href.start : href.end]
        if raw not in urls:
            urls[raw] = _decode_url(raw, masked[href.start : href.end], codec)
        seen, url = urls[raw]
        label = _label(html, markup, n, codec) if name != b"area" else ""
        unsubscribes = unsubscribes and link_url.find_scheme(url) in HTTP
        anchors.append(_anchor((tag, href, is_conditional, url, seen, label, opts_out, unsubscribes)))
    return anchors


def _decode_url(raw: bytes, masked: bytes, codec: str) -> tuple[str, str]:
    """The URL read as Latin-1, and the URL itself."""
    seen = link_url.decode_href(masked.decode("latin-1"))
    is_same = raw.isascii() and b"\x1b" not in raw
    return seen, seen if is_same else link_url.decode_href(charset.decode_text(raw, codec))


def _unsubscribes(lower: bytes, attributes: dict[bytes, html_attributes.Attribute]) -> bool:
    msys = attributes.get(b"data-msys-unsubscribe")
    return msys is not None and lower[msys.start : msys.end].strip() == b"1"


def _opts_out(lower: bytes, attributes: dict[bytes, html_attributes.Attribute]) -> bool:
    for name in attributes:
        if name not in _OPT_OUTS:
            continue
        meant = _OPT_OUTS[name]
        found = attributes[name]
        if meant is None or lower[found.start : found.end].strip() in meant:
            return True
    return False


def _label(html: bytes, markup: html_tokenizer.Markup, n: int, codec: str) -> str:
    """The label of the n-th tag's link, up to the next tag of its name: its text, or the alt texts of its pictures."""
    link, found = markup.tags[n], markup.tags
    last = min(len(found), n + 1 + _MAX_END_DISTANCE)
    m = n + 1
    while m < last and found[m].name != link.name:
        m += 1
    if m == last:
        return ""  # it is not closed: its text could be the rest of the page
    stop = found[m].start
    if html.find(b"<", link.end, stop) < 0:
        label = _decode_text(html[link.end : min(stop, link.end + 8 * _MAX_LABEL)], codec)
    elif _PLAIN_LABEL.fullmatch(markup.lower, link.end, stop):
        label = _decode_text(_INLINE_TAG.sub(b"", html[link.end : min(stop, link.end + 8 * _MAX_LABEL)]), codec)
    elif picture := _PICTURE.fullmatch(markup.lower, link.end, stop):
        start, end = picture.span(2)
        label = _decode_text(html[start : min(end, start + 8 * _MAX_LABEL)], codec) if picture.lastindex else ""
    else:
        label = _read_label(html, markup.tokenize_within(link.end, stop), link.end, stop, codec)
    return " ".join(label.split())[:_MAX_LABEL]


def _read_label(html: bytes, markup: html_tokenizer.Markup, at: int, stop: int, codec: str) -> str:
    """The same for a span whose tags were passed over before: they are read here."""
    words: list[str] = []
    alts: list[str] = []
    is_text = True
    for tag in markup.tags[:_MAX_TAGS_IN_LABEL]:
        if is_text and at < tag.start:
            words.append(_text(html[at : min(tag.start, at + 8 * _MAX_LABEL)], codec))
        if tag.name == b"img":
            alt = html_attributes.read_attributes(markup.lower, tag).get(b"alt")
            alts += [_text(html[alt.start : min(alt.end, alt.start + 8 * _MAX_LABEL)], codec)] if alt else []
        is_text = tag.is_closing or tag.name not in _NO_TEXT
        at = tag.end
    if is_text and len(markup.tags) <= _MAX_TAGS_IN_LABEL:
        words.append(_text(html[at : min(stop, at + 8 * _MAX_LABEL)], codec))
    text = "".join(words)
    return " ".join(alts) if not text or text.isspace() else text


def _text(octets: bytes, codec: str) -> str:
    return _decode_text(_NOT_TEXT.sub(b"", octets) if b"<" in octets else octets, codec)


def _decode_text(octets: bytes, codec: str) -> str:
    return entities.unescape(charset.decode_text(octets, codec))
