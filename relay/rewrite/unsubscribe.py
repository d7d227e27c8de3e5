"""List-Unsubscribe and List-Unsubscribe-Post.

In: the header section and the settings.  Out: templates.  RFC 2369 §3.2, RFC 8058 §3.1: the pair is added
together or not at all, for HTTPS only, above the existing fields (docs/rewriting.md#list-unsubscribe).
"""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from relay import edits, ip_addresses
from relay.mime import encoded_words, fields
from relay.rewrite import link_url
from relay.rewrite.edit_templates import EditTemplate

FIELD, POST = b"list-unsubscribe", b"list-unsubscribe-post"
_HOLE = edits.Hole(edits.Kind.UNSUBSCRIBE)
_URL = re.compile(r"<([^<>]*)>")


class UnsubscribeRules(NamedTuple):
    """What decides about the pair in this message."""

    public_url: str
    header: str  # add | replace | off | for_nobody | for_notification
    streams: tuple[str, ...]
    exempt: tuple[str, ...]
    mailto: str
    stream: str
    mailto_at: str = ""  # without `mailto`: the domain at which each recipient has an address to leave by


def list_unsubscribe_fields(head: fields.Head, rules: UnsubscribeRules) -> tuple[list[EditTemplate], str]:
    """The templates that add the pair (and with `replace` remove the app's), or none and perhaps a reason."""
    own = head.fields_named(FIELD) + head.fields_named(POST)
    if own and rules.header not in ("off", "replace"):
        return [], ""
    added, reason = _pair(rules)
    return [*added, *(EditTemplate(field.start, field.end, (), "list_unsubscribe") for field in own if added)], reason


@lru_cache(maxsize=256)  # the same for most mail
def _pair(rules: UnsubscribeRules) -> tuple[tuple[EditTemplate, ...], str]:
    """The template that adds the pair, or none and perhaps a reason."""
    is_wanted = _matches(rules.stream, rules.streams) and not _matches(rules.stream, rules.exempt)
    if rules.header == "off" or not is_wanted:
        return (), ""
    if rules.header == "for_nobody":
        return (), "unsubscribe_needs_recipient"
    if rules.header == "for_notification":
        return (), "unsubscribe_needs_sender"
    if not _is_safe(rules.public_url):
        return (), "unsubscribe_needs_https"
    # Never folded right behind the colon: OpenDKIM up to 2.10.3 hashes such a field in its own way, and MailEnable
    # misreads it. So the line passes 78 octets, which RFC 5322 §2.1.1 allows.
    post = b">\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    pieces = (b"List-Unsubscribe: <", _HOLE, *_mailto(rules), post)
    return (EditTemplate(0, 0, pieces, "list_unsubscribe"),), ""


def _mailto(rules: UnsubscribeRules) -> tuple[edits.Piece, ...]:
    """What stands between the link and the last bracket."""
    if rules.mailto:
        return (b">,\r\n <mailto:%s" % rules.mailto.removeprefix("mailto:").encode(),)
    if rules.mailto_at:
        address = edits.Hole(edits.Kind.UNSUBSCRIBE, url=rules.mailto_at.encode())
        return b">,\r\n <mailto:", address, b"?subject=unsubscribe"
    return ()


def listed_urls(octets: bytes, head: fields.Head) -> frozenset[str]:
    """The URLs in the message's own List-Unsubscribe, normalized to be compared. RFC 2369 §2: white space
    inside is ignored. Some apps forget the brackets."""
    if FIELD not in head.by_name:
        return frozenset()
    values = (encoded_words.decode_words(fields.unfold_value(octets, field)) for field in head.fields_named(FIELD))
    found = (url for value in values for url in _URL.findall(value) or value.split(","))
    return frozenset(link_url.normalize_url("".join(url.split())) for url in found)


def _matches(stream: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(stream.lower(), pattern.lower()) for pattern in patterns)


def _is_safe(public_url: str) -> bool:
    """HTTPS, or a sandbox that only this machine sees."""
    url = urlsplit(public_url)
    return url.scheme == "https" or ip_addresses.is_loopback_host(url.hostname or "")
