"""Placeholders that apps leave in their text for a provider: unsubscribe links to fill in, and opt-outs beside a URL.

In: a leaf's decoded text, and the dialects whose provider is not the upstream, so that nobody else would do it.
Out: templates in its offsets. Our own placeholder is always understood. Nothing here can take more than linear time.
"""

import re
from bisect import bisect_right
from collections.abc import Collection, Iterator
from functools import lru_cache

from relay import edits
from relay.rewrite import html_tokenizer
from relay.rewrite.edit_templates import EditTemplate
from relay.rewrite.provider_dialects import WAYPOST

_HOLE = edits.Hole(edits.Kind.UNSUBSCRIBE)
_S = rb"(?:\s|%20|&nbsp;){0,8}"
# Editors percent-encode what stands in an href and escape it in HTML, and put `http://` before what has no
# scheme. A form's group is named for its dialect.
_FORMS = {
    WAYPOST: rb"(?:\{\{|%7B%7B)@waypost_unsubscribe_url@(?:\}\}|%7D%7D)",
    "postmark": rb"(?:\{\{\{|%7B%7B%7B)@pm:unsubscribe(?:_url)?@(?:label=(?P<label>\"[^\"<>{}]{1,200}\")@)?"
    rb"(?:\}\}\}|%7D%7D%7D)",
    "mailgun": rb"%25(?:tag_|mailing_list_)?unsubscribe_url%25|%(?:tag_|mailing_list_)?unsubscribe_url%",
    "mandrill": rb"\*(?:\||%7C)UNSUB(?::[^|*<>\s\"']*)?(?:\||%7C)\*",
    # `[unsubscribe]` is a setting of accounts; in running text it may be a mere word.
    "sendgrid": rb"(?:<|&lt;|%3C)(?:%25|%)@asm_(?:(?:group|global)_unsubscribe|preferences)(?:_raw)?_url@(?:%25|%)"
    rb"(?:>|&gt;|%3E)|(?<=[\"'])\[unsubscribe\](?=[\"'])",
    "sparkpost": rb"\[\[@data-msys-(?:unsubscribe=[\"']?1|clicktrack=[\"']?0)[\"']?@\]\]",
    "postal": rb"(?<=http)\+notrack(?=://)|(?<=https)\+notrack(?=://)",
}
# Every form holds one of these, which are found a hundred times as fast, and begins shortly before it.
_UNSUB = b"unsub"
_HINTS = (_UNSUB, b"asm_preferences", b"+notrack", b"data-msys-")
_IN_EVERY_FORM = (b"%", b"{", b"[", b"*", b"+")  # there is one of these, each found ten times as fast as a hint
_BEFORE_UNSUB = frozenset(b"%c" % octet for octet in b"_:%5|c[-")  # in a form; the mere word has others
_BEGINNING = re.compile(rb"[%{*<&\[+hH]")
_MAX_BEGINNING = 100  # octets
_LABEL = b'"Unsubscribe"'
_MAX_URL = 2000  # octets before SparkPost's placeholder
_NO_LINK_IN = frozenset(
    b"a area button title textarea style script xmp iframe noembed noframes plaintext option select".split()
)
_MAX_DISTANCE = 20_000  # octets from the last tag


def find_in_text(text: bytes, dialects: Collection[str]) -> list[EditTemplate]:
    """The templates for a plain text, in order."""
    made: list[EditTemplate] = []
    for placeholder in _find(text, dialects):
        made.append(_to_template(placeholder, text, made[-1].end if made else 0))
    return made


def find_in_html(page: html_tokenizer.Markup, dialects: Collection[str]) -> list[EditTemplate]:
    """The templates for a page, in order. A placeholder for which its provider makes a whole link in running text
    becomes one."""
    html = page.html
    found = _find(html, dialects, page.lower)
    if not found:
        return []
    markup = html_tokenizer.tokenize(html)  # the page may have been skimmed
    starts = [tag.start for tag in markup.tags]
    made: list[EditTemplate] = []
    for placeholder in found:
        template = _to_template(placeholder, html, made[-1].end if made else 0)
        if (
            _means_link(placeholder)
            and not markup.is_open
            and _is_running_text(html, markup, starts, placeholder.start())
        ):
            label = (placeholder["label"] if placeholder.lastgroup == "postmark" else None) or _LABEL
            template = EditTemplate(
                *placeholder.span(), (b'<a href="', _HOLE, b'">' + label[1:-1] + b"</a>"), "unsubscribe"
            )
        made.append(template)
    return made


def is_unsubscribe(url: str, dialects: Collection[str]) -> bool:
    """True if the URL holds the placeholder of one of the dialects, or ours."""
    lower = url.lower()
    if not ("unsub" in lower or "+notrack" in lower or "data-msys-" in lower or "asm_preferences" in lower):
        return False  # as for nearly all; `any` over _HINTS would take three times as long
    return any(not _opts_out(placeholder) for placeholder in _find(url.encode("utf-8", "replace"), dialects))


def _find(text: bytes, dialects: Collection[str], lower: bytes = b"") -> list[re.Match[bytes]]:
    """The placeholders, in order."""
    for octet in _IN_EVERY_FORM:
        if octet in text:
            break
    else:
        return []
    lower = lower or text.lower()
    places = sorted(place for hint in _HINTS for place in _find_hints(lower, hint))
    if not places:
        return []
    pattern = _pattern(frozenset(dialects))
    found: list[re.Match[bytes]] = []
    past = 0
    for at in places:
        for begun in _BEGINNING.finditer(text, max(past, at - _MAX_BEGINNING), max(past, at + 1)):
            if placeholder := pattern.match(text, begun.start()):
                found.append(placeholder)
                past = placeholder.end()
                break
        past = max(past, at + 1)  # no octet is read twice
    return found


def _find_hints(lower: bytes, hint: bytes) -> Iterator[int]:
    at = lower.find(hint)
    while at >= 0:
        if hint != _UNSUB or lower[at - 1 : at] in _BEFORE_UNSUB:
            yield at
        at = lower.find(hint, at + 1)


@lru_cache(maxsize=64)
def _pattern(dialects: frozenset[str]) -> re.Pattern[bytes]:
    forms = (
        b"(?P<%s>%s)" % (name.encode(), form.replace(b"@", _S))
        for name, form in _FORMS.items()
        if name == WAYPOST or name in dialects
    )
    return re.compile(rb"(?:https?://)?(?:" + b"|".join(forms) + b")", re.IGNORECASE)


def _to_template(placeholder: re.Match[bytes], text: bytes, min_start: int) -> EditTemplate:
    start, end = placeholder.span()
    if _opts_out(placeholder):
        return EditTemplate(start, end, (), "opt_out")
    if placeholder.lastgroup == "sparkpost":
        start = _url_start(text, start, min_start)
    return EditTemplate(start, end, (_HOLE,), "unsubscribe")


def _opts_out(placeholder: re.Match[bytes]) -> bool:
    """True if it only says that the URL beside it is not to be tracked."""
    return placeholder.lastgroup == "postal" or (
        placeholder.lastgroup == "sparkpost" and b"clicktrack" in placeholder[0].lower()
    )


def _url_start(text: bytes, at: int, min_start: int) -> int:
    """Where the URL begins that ends there; `at` if there is none."""
    before = text[max(min_start, at - _MAX_URL) : at]
    word = before[max(before.rfind(octet) for octet in b" \t\r\n<>\"'(]") + 1 :]
    places = [place for place in (word.find(b"http://"), word.find(b"https://")) if place >= 0]
    return at - len(word) + min(places) if places else at


def _means_link(placeholder: re.Match[bytes]) -> bool:
    text = placeholder[0].lower()
    return (placeholder.lastgroup == "postmark" and b"_url" not in text) or (
        placeholder.lastgroup == "sendgrid" and b"asm_" in text and b"_raw" not in text
    )


def _is_running_text(html: bytes, markup: html_tokenizer.Markup, starts: list[int], at: int) -> bool:
    """True if a link may stand there for certain: outside of tags, comments, raw text and other links."""
    n = bisect_right(starts, at) - 1
    if n < 0:
        return at <= _MAX_DISTANCE and b"<!" not in html[:at] and b"<?" not in html[:at]
    last = markup.tags[n]
    if not last.end <= at <= last.end + _MAX_DISTANCE or not last.is_live:
        return False
    if not last.is_closing and last.name in _NO_LINK_IN:
        return False
    gap = html[last.end : at]
    if b"<!" in gap or b"<?" in gap or b"</" in gap:
        return False
    # An open link may be some tags back, as in `<a href="…"><b>{{{ pm:unsubscribe }}}</b></a>`.
    for tag in reversed(markup.tags[max(0, n - 100) : n + 1]):
        if tag.name == b"a":
            return tag.is_closing
    return True
