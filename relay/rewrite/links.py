"""Which links are tracked, and why the others are not (docs/rewriting.md#which-links).

In: HTML octets, their markup and the rules of this message.  Out: every href of the text in document order,
with its span and a verdict.
"""

import html as entities
import re
from functools import partial
from typing import NamedTuple

from relay import redaction
from relay.mime import charset
from relay.rewrite import edit_templates, html_tokenizer, link_url, placeholders
from relay.tokens import MAX_DESTINATION_OCTETS

MAX_TRACKED = 10_000  # links tracked in a message: every one costs every recipient a token
MAX_REPORTED = MAX_TRACKED + 100  # the report would grow with the mail, a hundred octets for ten of it
MAX_IN_PAGE = 3 * MAX_TRACKED  # a page with more goes as it came: it is no letter, and each takes 0.1 ms
_MAX_LABEL = 200  # characters
_MAX_TAGS_IN_LABEL = 100
_MAX_END_DISTANCE = 30  # of those that skimming leaves
_HTTP = ("http", "https")
_NAMES = (b"a", b"area")
_NO_TEXT = frozenset({b"style", b"script", b"title", b"textarea", b"noframes", b"xmp", b"iframe", b"noembed"})
# Text and tags that neither hide nor show anything; without an ampersand a tag could cut in two.
_INLINE_TAG = re.compile(
    rb"</?(?:b|i|u|em|strong|span|font|br|center|small|big|w:anchorlock)(?:[\s/][^<>\"']*+(?:\"[^<>\"]*+\"[^<>\"']*+)*+)?>",
    re.I,
)
_PLAIN_LABEL = re.compile(rb"[^<]*+(?:%b[^<&]*+)*+" % _INLINE_TAG.pattern)
_PICTURE = re.compile(rb"\s*+<img%b\s*+" % html_tokenizer.plain_attributes(b"alt"))
_NOT_TEXT = re.compile(rb"<!--.*?(?:-->|\Z)|<[!?/][^>]*+(?:>|\Z)", re.DOTALL)
# {{…}}, *|…|*, %recipient…%, %…unsubscribe_url%, [[…]], <%…%>, {%…%}, ${…}: somebody was to fill it in, or still
# will.
_PLACEHOLDER = re.compile(
    r"\{\{|\}\}|\*\||\|\*|%recipient[^%]*%|%[a-z_]{0,20}unsubscribe_url%|\[unsubscribe\]|\[\[|\]\]|<%|%>|\{%|%\}|\$\{"
    r"|%7B%7B|%7D%7D|\*%7C|%7C\*|%3C%25|%25%3E|%25[a-z_]{0,20}unsubscribe_url%25",
    re.IGNORECASE,
)
_IN_PLACEHOLDERS = re.compile(r"[{}|%\[\]]")  # every one has one of these
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
# A link's text that reads as an address: a scheme, `www.`, or a bare name under a well-known domain.
_ADDRESS = re.compile(
    r"(?:(?:https?:)?//|(?=www\.))(?P<host>(?=[^\s/?#:][^\s/?#:.]*+\.[^\s/?#:])[^\s/?#:]++)(?:[/?#:]\S*+)?",
    re.IGNORECASE,
)
_BARE_ADDRESS = re.compile(r"(?P<host>(?:[^\W_](?:[\w-]*[^\W_])?\.)+[^\W\d_]{2,})(?:[/?#:]\S*)?", re.IGNORECASE)
_GENERIC = frozenset(
    {"com", "net", "org", "edu", "gov", "mil", "int", "info", "biz", "app", "dev", "shop", "online", "store"}
)


class Link(NamedTuple):
    """A link as the report shows it. `number` counts all links of the message from 1, tracked or not."""

    number: int
    url: str  # the decoded href
    decision: str  # tracked | skipped
    reason: str  # why it is skipped; "" if it is tracked
    text: str  # what the reader sees

    def as_skipped(self, reason: str) -> "Link":
        """The same link, skipped for that reason, or for the one it has."""
        return self._replace(decision="skipped", reason=self.reason or reason)


class LinkRules(NamedTuple):
    """What decides about links in this message."""

    public_url: str
    clicks: bool
    exclude: frozenset[str]
    text_is_url: str
    list_unsubscribe: frozenset[str]  # the URLs in the message's own field, comparable
    text_links: bool = False  # those of text/plain too
    marks: tuple[str, ...] = ()  # the dialects whose marks are ours to fill in
    unnamed: frozenset[str] = frozenset()  # words that would lead to a recipient
    stores: bool = False  # whether a destination too long for a URL can be stored
    bare_scheme: str = ""  # what `//host/` is read with; without it, as in mail, it leads nowhere certain


class Anchor(NamedTuple):
    """An element with an href; spans count in the HTML octets."""

    tag: html_tokenizer.Tag
    href: html_tokenizer.Attribute
    is_conditional: bool  # inside `<!--[if …]>`
    url: str
    seen: str  # the URL as a reader of Latin-1 sees it, for the witness
    text: str
    opts_out: bool
    unsubscribes: bool = False  # SparkPost makes it an unsubscribe link


_anchor = partial(tuple.__new__, Anchor)  # half the time that Anchor(…) takes


def find_anchors(html: bytes, markup: html_tokenizer.Markup, codec: str) -> list[Anchor]:
    """Every live href, and those of Outlook's conditional comments, in document order."""
    found = _anchors(html, markup, codec, is_conditional=False)
    for start, end in markup.conditions:
        if markup.lower.find(b"href", start, end) < 0:  # most are ghost tables
            continue
        inside = markup.tokenize_fast_within(start, end)
        if not inside.ambiguity:
            found += _anchors(html, inside, codec, is_conditional=True)
    if markup.conditions:
        found.sort(key=lambda anchor: anchor.tag.start)
    return found


class UrlDecision(NamedTuple):
    """What the URL alone says about a link, the same wherever it stands in the message."""

    no_address: str  # why nobody could track it, before its element is asked
    kept: str  # why it is skipped unless the element opts out
    last: str  # why it is skipped if the label says nothing against it
    target: bytes  # the octets that its redirect gives
    host: str


UrlDecisions = dict[str, UrlDecision]  # those that a message has had, by URL


def decide_anchor(anchor: Anchor, rules: LinkRules, codec: str, decisions: UrlDecisions) -> tuple[str, bytes]:
    """Why the link is skipped and b"", or "" and the octets that its redirect will give."""
    if anchor.unsubscribes:
        return "unsubscribe", b""
    decision = decisions.get(anchor.url)
    if decision is None:
        decision = decisions[anchor.url] = _decide_by_url(anchor.url, rules, codec)
    reason = decision.no_address or (anchor.opts_out and "opt_out") or decision.kept
    if not reason and rules.text_is_url != "track" and shows_address(anchor.text, decision.host):
        reason = "text_is_url"
    reason = reason or decision.last
    return (reason, b"") if reason else ("", decision.target)


def decide_url(url: str, rules: LinkRules, codec: str) -> tuple[str, bytes]:
    """The same for a URL that stands in a text."""
    decision = _decide_by_url(url, rules, codec)
    reason = decision.no_address or decision.kept or decision.last
    return (reason, b"") if reason else ("", decision.target)


def _decide_by_url(url: str, rules: LinkRules, codec: str) -> UrlDecision:
    if len(url) > MAX_DESTINATION_OCTETS:  # before anything else looks through it
        return UrlDecision("too_long", "", "", b"", "")
    if rules.bare_scheme:
        url = link_url.with_scheme(url, rules.bare_scheme)
    if reason := _no_address(url, link_url.find_scheme(url), rules.marks):
        return UrlDecision(reason, "", "", b"", "")
    target = link_url.to_location(url, codec)
    if target is None:
        return UrlDecision("", "malformed", "", b"", "")
    host = link_url.find_host(url)
    kept = ""
    if host == link_url.find_host(rules.public_url) and _is_own(url, rules):
        kept = "own_host"
    elif rules.exclude and any(host == name or host.endswith("." + name) for name in rules.exclude):
        kept = "excluded_host"
    elif rules.list_unsubscribe and link_url.normalize_url(url) in rules.list_unsubscribe:
        kept = "list_unsubscribe"
    return UrlDecision("", kept, "" if kept else _last_reason(url, target, rules), target, host)


def _is_own(url: str, rules: LinkRules) -> bool:
    return link_url.host_and_port(url) == link_url.host_and_port(rules.public_url)


def _last_reason(url: str, target: bytes, rules: LinkRules) -> str:
    if not rules.clicks:
        return "clicks_off"
    if rules.unnamed and redaction.contains_any(url, rules.unnamed):
        return "names_recipient"
    is_storable = rules.stores and len(target) <= MAX_DESTINATION_OCTETS
    return "" if is_storable or edit_templates.fits_in_url(rules.public_url, target) else "too_long"


def _no_address(url: str, scheme: str, dialects: tuple[str, ...]) -> str:
    if not url:
        return "empty"
    if placeholders.is_unsubscribe(url, dialects):
        return "unsubscribe"
    if "+n" in url and "+notrack://" in url.lower():  # Postal's opt-out
        return "opt_out"
    if _IN_PLACEHOLDERS.search(url) and _PLACEHOLDER.search(url):
        return "placeholder"
    if url.startswith("#"):
        return "fragment"
    if scheme not in _HTTP:
        return f"scheme:{scheme[:30]}" if scheme else "relative"
    return ""


def shows_address(text: str, host: str) -> bool:
    """True if the link's text is itself an address, which a reader or a phishing filter would compare with the
    link's. Wrapped, the two never agree."""
    if "." not in text:  # every address has one
        return False
    text = text.strip(" \u00a0<>()[]\"'.,;:!")
    if _ADDRESS.fullmatch(text):
        return True
    found = _BARE_ADDRESS.fullmatch(text)
    if not found:
        return False
    shown = found["host"].lower()
    is_kin = shown == host or shown.endswith("." + host) or host.endswith("." + shown)
    return is_kin or shown.rpartition(".")[2] in _GENERIC


def _anchors(html: bytes, markup: html_tokenizer.Markup, codec: str, *, is_conditional: bool) -> list[Anchor]:
    masked, lower, found = markup.html, markup.lower, markup.tags
    anchors: list[Anchor] = []
    urls: dict[bytes, tuple[str, str]] = {}  # by the href's octets, which pictures and buttons repeat
    for n, tag in enumerate(found):
        name, _, inner, end, is_closing, is_live = tag
        is_link = name in _NAMES or (is_conditional and name.startswith(b"v:"))
        if not is_link or is_closing or not is_live:
            continue
        opts_out = unsubscribes = False
        is_plain = lower.find(b"-track", inner, end) < 0 and lower.find(b"ktrack", inner, end) < 0
        is_plain = is_plain and lower.find(b"data-msys-", inner, end) < 0  # no attribute says anything about the link
        href = html_tokenizer.read_href(lower, tag) if is_plain else None
        if href is None:
            attributes = html_tokenizer.read_attributes(lower, tag)
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
        unsubscribes = unsubscribes and link_url.find_scheme(url) in _HTTP
        anchors.append(_anchor((tag, href, is_conditional, url, seen, label, opts_out, unsubscribes)))
    return anchors


def _decode_url(raw: bytes, masked: bytes, codec: str) -> tuple[str, str]:
    """The URL as a reader of Latin-1 sees it, and as it is."""
    seen = link_url.decode_href(masked.decode("latin-1"))
    is_same = raw.isascii() and b"\x1b" not in raw
    return seen, seen if is_same else link_url.decode_href(charset.decode_text(raw, codec))


def _unsubscribes(lower: bytes, attributes: dict[bytes, html_tokenizer.Attribute]) -> bool:
    msys = attributes.get(b"data-msys-unsubscribe")
    return msys is not None and lower[msys.start : msys.end].strip() == b"1"


def _opts_out(lower: bytes, attributes: dict[bytes, html_tokenizer.Attribute]) -> bool:
    for name in attributes:
        if name not in _OPT_OUTS:
            continue
        meant = _OPT_OUTS[name]
        found = attributes[name]
        if meant is None or lower[found.start : found.end].strip() in meant:
            return True
    return False


def _label(html: bytes, markup: html_tokenizer.Markup, n: int, codec: str) -> str:
    """What the reader sees of the n-th tag's link, to the next tag of its name: its text, or its pictures' alts."""
    link, found = markup.tags[n], markup.tags
    last = min(len(found), n + 1 + _MAX_END_DISTANCE)
    m = n + 1
    while m < last and found[m].name != link.name:
        m += 1
    if m == last:
        return ""  # nobody closes it: its text could be the rest of the page
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


def _read_label(html: bytes, inside: html_tokenizer.Markup, at: int, stop: int, codec: str) -> str:
    """The same of a span whose markup is at hand: what was skimmed over had to be read."""
    words: list[str] = []
    alts: list[str] = []
    is_text = True
    for tag in inside.tags[:_MAX_TAGS_IN_LABEL]:
        if is_text and at < tag.start:
            words.append(_text(html[at : min(tag.start, at + 8 * _MAX_LABEL)], codec))
        if tag.name == b"img":
            alt = html_tokenizer.read_attributes(inside.lower, tag).get(b"alt")
            alts += [_text(html[alt.start : min(alt.end, alt.start + 8 * _MAX_LABEL)], codec)] if alt else []
        is_text = tag.is_closing or tag.name not in _NO_TEXT
        at = tag.end
    if is_text and len(inside.tags) <= _MAX_TAGS_IN_LABEL:
        words.append(_text(html[at : min(stop, at + 8 * _MAX_LABEL)], codec))
    text = "".join(words)
    return " ".join(alts) if not text or text.isspace() else text


def _text(octets: bytes, codec: str) -> str:
    return _decode_text(_NOT_TEXT.sub(b"", octets) if b"<" in octets else octets, codec)


def _decode_text(octets: bytes, codec: str) -> str:
    return entities.unescape(charset.decode_text(octets, codec))
