"""Which links are tracked, and why the others are not (docs/rewriting.md#which-links).

In: an anchor or a URL, and the rules of this message.  Out: the octets that its redirect will give, or why it is not
tracked.
"""

import re
from typing import NamedTuple

from relay import redaction
from relay.rewrite import edit_templates, link_url, placeholders
from relay.rewrite.anchors import HTTP, Anchor
from relay.tokens import MAX_DESTINATION_OCTETS

MAX_TRACKED = 10_000  # links tracked in a message: every one costs every recipient a token
MAX_REPORTED = MAX_TRACKED + 100  # the report would grow with the mail, a hundred octets for ten of it
MAX_IN_PAGE = (
    3 * MAX_TRACKED
)  # a page with more links stays as it came: people write no such mail, and each link takes 0.1 ms
# {{…}}, *|…|*, %recipient…%, %…unsubscribe_url%, [[…]], <%…%>, {%…%}, ${…}: a placeholder of a template.
_PLACEHOLDER = re.compile(
    r"\{\{|\}\}|\*\||\|\*|%recipient[^%]*%|%[a-z_]{0,20}unsubscribe_url%|\[unsubscribe\]|\[\[|\]\]|<%|%>|\{%|%\}|\$\{"
    r"|%7B%7B|%7D%7D|\*%7C|%7C\*|%3C%25|%25%3E|%25[a-z_]{0,20}unsubscribe_url%25",
    re.IGNORECASE,
)
_IN_PLACEHOLDERS = re.compile(r"[{}|%\[\]]")  # every one has one of these
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
    text: str  # its label

    def as_skipped(self, reason: str) -> "Link":
        """The same link, skipped for that reason, or for the one it has."""
        return self._replace(decision="skipped", reason=self.reason or reason)


class LinkRules(NamedTuple):
    """The settings for links in this message."""

    public_url: str
    clicks: bool
    exclude: frozenset[str]
    text_is_url: str
    list_unsubscribe: frozenset[str]  # the URLs in the message's own field, comparable
    text_links: bool = False  # those of text/plain too
    placeholder_dialects: tuple[str, ...] = ()  # whose placeholders we fill in
    identifying_strings: frozenset[str] = frozenset()  # strings that would identify a recipient
    may_store_urls: bool = False  # whether a destination too long for a URL can be stored
    bare_scheme: str = ""  # what `//host/` is read with; without it, as in mail, it leads nowhere certain


class UrlDecision(NamedTuple):
    """The decision by the URL alone. It is the same for every link of the message with this URL."""

    no_address: str  # why nobody could track it, before its element is asked
    skip_reason: str  # why it is skipped unless the element opts out
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
    reason = decision.no_address or (anchor.opts_out and "opt_out") or decision.skip_reason
    if not reason and rules.text_is_url != "track" and shows_address(anchor.text, decision.host):
        reason = "text_is_url"
    reason = reason or decision.last
    return (reason, b"") if reason else ("", decision.target)


def decide_url(url: str, rules: LinkRules, codec: str) -> tuple[str, bytes]:
    """The same for a URL that stands in a text."""
    decision = _decide_by_url(url, rules, codec)
    reason = decision.no_address or decision.skip_reason or decision.last
    return (reason, b"") if reason else ("", decision.target)


def _decide_by_url(url: str, rules: LinkRules, codec: str) -> UrlDecision:
    if len(url) > MAX_DESTINATION_OCTETS:  # before anything else looks through it
        return UrlDecision("too_long", "", "", b"", "")
    if rules.bare_scheme:
        url = link_url.with_scheme(url, rules.bare_scheme)
    if reason := _no_address(url, link_url.find_scheme(url), rules.placeholder_dialects):
        return UrlDecision(reason, "", "", b"", "")
    target = link_url.to_location(url, codec)
    if target is None:
        return UrlDecision("", "malformed", "", b"", "")
    host = link_url.find_host(url)
    reason_kept = ""
    if host == link_url.find_host(rules.public_url) and _is_own(url, rules):
        reason_kept = "own_host"
    elif rules.exclude and any(host == name or host.endswith("." + name) for name in rules.exclude):
        reason_kept = "excluded_host"
    elif rules.list_unsubscribe and link_url.normalize_url(url) in rules.list_unsubscribe:
        reason_kept = "list_unsubscribe"
    return UrlDecision("", reason_kept, "" if reason_kept else _last_reason(url, target, rules), target, host)


def _is_own(url: str, rules: LinkRules) -> bool:
    return link_url.host_and_port(url) == link_url.host_and_port(rules.public_url)


def _last_reason(url: str, target: bytes, rules: LinkRules) -> str:
    if not rules.clicks:
        return "clicks_off"
    if rules.identifying_strings and redaction.contains_any(url, rules.identifying_strings):
        return "names_recipient"
    is_storable = rules.may_store_urls and len(target) <= MAX_DESTINATION_OCTETS
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
    if scheme not in HTTP:
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
