"""An HTML tokenizer that gives the span of each tag.

In: HTML octets of any ASCII superset.  Out: the tags that a browser would see, with spans, those in
template, svg and math marked as not live; conditional comments; and whether the text ends inside a
construct.  WHATWG HTML §13.2.5 (tokenization), and of §13.2.6 (tree construction) what decides how the
tokenizer goes on. Where that would take a whole tree, it does not guess: `doubt` says why.

Driven by regular expressions over the text in lower case, 0.2 µs for a tag that tells nothing; none of them can
backtrack over what it has taken, so that hostile text takes linear time too.
"""

import re
from typing import NamedTuple

from relay.rewrite import html_attributes
from relay.rewrite.html_attributes import ATTRIBUTE, SPACE, Tag, make_tag

# Nothing in it is read again: a comment without an end takes all the rest, the others all to their end.
_BOGUS = rb"(!--|[!?/])(?:(?<=!--)(?!-?>).*+|(?<!--)[^>]*+)?+"
_TAG = rb"<(?:(/?)([a-z][^%(s)s/>]*)(?:>|[%(s)s/]*(?:%(a)s)*(>?))|%(b)s)" % {
    b"s": SPACE,
    b"a": ATTRIBUTE,
    b"b": _BOGUS,
}
# A comment with an end, whose group is there if it is Outlook's.
_COMMENT = rb"<!--(?!-?>)(\s*+\[if\b)?+[^-]*+(?:-(?!-!?>)[^-]*+)*+--!?>"
_MARKUP = re.compile(rb"%b|%b" % (_COMMENT, _TAG), re.DOTALL)
_EMPTY_COMMENT = re.compile(rb"-?>")
_SCRIPT_MARK = re.compile(rb"<!--|-->|<(/?)script(?=[%s/>])" % SPACE)

_RAW_TEXT = {
    name: re.compile(rb"</%s(?=[%s/>])" % (name, SPACE))
    for name in (b"title", b"textarea", b"style", b"xmp", b"iframe", b"noembed", b"noframes")
}
# Start tags that end svg and math (§13.2.6.5), and elements in there that may hold HTML.
_BREAKS_OUT = frozenset(
    b"b big blockquote body br center code dd div dl dt em embed h1 h2 h3 h4 h5 h6 head hr i img li listing menu meta "
    b"nobr ol p pre ruby s small span strong strike sub sup table tt u ul var".split()
)
_HOLDS_HTML = frozenset(b"foreignobject desc title mi mo mn ms mtext annotation-xml".split())
_LEAVES_SELECT = frozenset(b"select input keygen textarea".split())
_SPECIAL = frozenset(_RAW_TEXT) | frozenset(b"script plaintext template svg math select frameset".split())
_SPECIAL_IN_SELECT = _SPECIAL | frozenset(b"a area input keygen body html".split())
_MAX_FOREIGN_DEPTH = 200
_MAX_ATTRIBUTE_OCTETS = 20_000  # a tag longer than this is counted; lxml is quadratic in attributes
_MAX_ATTRIBUTES = 2_000


def _any_of(names: frozenset[bytes]) -> bytes:
    """A pattern for one of them, by first letters: half as long to fail."""
    by_letter = {name[:1]: [other[1:] for other in sorted(names) if other[:1] == name[:1]] for name in sorted(names)}
    return b"|".join(letter + b"(?:%b)" % b"|".join(rests) for letter, rests in by_letter.items())


# Text and plain tags up to the next that tells something: what the tokenizer need not stop at. A plain tag has
# no quote or `=` but those of values; what is unusual is left to _TAG, but for a doctype or a bogus comment.
_PLAIN_TAG = (
    rb"<(?!/?+(?:(?:%(names)b)[%(s)b/>]|v:))/?+[a-z][^%(s)b/>]*+"
    rb"(?:>|(?: [^%(s)b/>=\"'<]++=\"[^\"]*+\"){1,200}+>|"  # as nearly all are; the rest takes longer
    rb"(?:[^>\"'=]{0,2000}+(?<=[^%(s)b/>\"'=])=(?:\"[^\"]*+\"|'[^']*+'|[^%(s)b>\"'][^%(s)b>]*+)){0,200}+[^>\"'=]{0,2000}+>)"
    % {b"s": SPACE, b"names": _any_of(_SPECIAL_IN_SELECT)}
)
_NEXT = re.compile(
    rb"(?:[^<]++|%b|<![^->][^>]*+>|<(?![a-z/!?]))*+(?:%b|%b|\Z)" % (_PLAIN_TAG, _COMMENT, _TAG), re.DOTALL
)


class Markup(NamedTuple):
    """The tokenizer's result."""

    html: bytes
    lower: bytes  # the same in lower case
    tags: list[Tag]
    conditions: list[tuple[int, int]]  # insides of live `<!--[if …]>` comments
    is_open: bool  # the text ends inside a construct: nothing can be appended to it
    has_foreign_content: bool  # template, svg or math stand in it
    ambiguity: str  # "", or why browsers could read it differently

    def tokenize_within(self, start: int, end: int) -> "Markup":
        """All markup of a part of the text, read on its own."""
        return _tokenize(self.html, self.lower, start, end, _MARKUP)

    def tokenize_fast_within(self, start: int, end: int) -> "Markup":
        """The same without the tags that `tokenize_fast` passes over."""
        tags = _read_plain_tags(self.lower, start, end)
        if tags is None:
            return _tokenize(self.html, self.lower, start, end, _NEXT)
        return Markup(self.html, self.lower, tags, [], is_open=False, has_foreign_content=False, ambiguity="")


def tokenize(html: bytes) -> Markup:
    """The markup, in order. If something is in doubt, the lists end there."""
    return _tokenize(html, html.lower(), 0, len(html), _MARKUP)


def tokenize_fast(html: bytes) -> Markup:
    """The same without most tags that are no links and do not change the state: four times as fast."""
    return _tokenize(html, html.lower(), 0, len(html), _NEXT)


def _tokenize(html: bytes, lower: bytes, start: int, end: int, pattern: re.Pattern[bytes]) -> Markup:
    scan = _Scan(html, lower, start, end, pattern)
    scan.run()
    is_open = scan.is_open or bool(scan.foreign) or scan.templates > 0 or scan.in_select
    return Markup(html, lower, scan.tags, scan.conditions, is_open, scan.has_foreign_content, scan.ambiguity)


def _read_plain_tags(lower: bytes, start: int, end: int) -> list[Tag] | None:
    """The tags of a short text in which none changes how it goes on; None if one does, or if a tag is open."""
    tags: list[Tag] = []
    for found in _NEXT.finditer(lower, start, end):
        condition, slash, name, close, mark = found.groups()
        if name is None:
            if condition or (mark is not None and lower.find(b">", found.end(5), end) >= 0):
                return None
            continue
        stop = found.end()
        begun = found.start(3) - 1 - len(slash)
        if close == b"" or name in _SPECIAL or stop - begun > _MAX_ATTRIBUTE_OCTETS:
            return None
        tags.append(make_tag((name, begun, found.end(3), stop, slash == b"/", True)))
    return tags


class _Scan:
    def __init__(self, html: bytes, lower: bytes, at: int, end: int, pattern: re.Pattern[bytes]) -> None:
        self.raw, self.lower, self.at, self.end, self.pattern = html, lower, at, end, pattern
        self.tags: list[Tag] = []
        self.conditions: list[tuple[int, int]] = []
        self.is_open = False
        self.has_foreign_content = False
        self.ambiguity = ""
        self.templates = 0
        self.foreign: list[bytes] = []  # open elements from svg or math inwards
        self.in_select = False

    def run(self) -> None:
        """Reads on until the end, or until something is open or in doubt. Most of our time is spent here."""
        while not (self.is_open or self.ambiguity):
            is_dead = bool(self.templates or self.foreign)
            special = _SPECIAL_IN_SELECT if self.in_select else _SPECIAL
            pattern = _MARKUP if self.foreign else self.pattern
            for found in pattern.finditer(self.lower, self.at, self.end):
                condition, slash, name, close, mark = found.groups()
                if name is None:
                    if mark is not None:
                        self._declaration(mark, found.start(5) - 1, found.end(5))
                        break
                    if condition and not is_dead:
                        end = found.end()
                        self.conditions.append((found.start(1), self.lower.rindex(b"--", 0, end)))
                    continue
                if close == b"":  # EOF in a tag: it never was
                    self.is_open = True
                    break
                start, stop = found.start(3) - 1 - len(slash), found.end()
                tag = make_tag((name, start, found.end(3), stop, slash == b"/", not is_dead))
                if name in special or self.foreign or stop - start > _MAX_ATTRIBUTE_OCTETS:
                    self.at = stop
                    self._state_changing_tag(tag)
                    break  # for what follows may be read in another way, or from another place
                self.tags.append(tag)
            else:
                return

    def _state_changing_tag(self, tag: Tag) -> None:
        """Handles a tag that may change the state."""
        is_long = tag.end - tag.inner > _MAX_ATTRIBUTE_OCTETS
        if is_long and len(html_attributes.ATTRIBUTES.findall(self.lower, tag.inner, tag.end - 1)) > _MAX_ATTRIBUTES:
            self.ambiguity = "too_many_attributes"
            return
        breaks_out = self.foreign and not tag.is_closing and tag.name in _BREAKS_OUT
        if breaks_out and _HOLDS_HTML.isdisjoint(self.foreign):
            self.foreign.clear()  # §13.2.6.5: it ends svg and math, and is HTML's own
            tag = tag._replace(is_live=not self.templates)
        if self.foreign:
            self._foreign_tag(tag)
        elif tag.name in _SPECIAL_IN_SELECT:
            self._special_tag(tag)
        self.tags.append(tag)

    def _declaration(self, mark: bytes, start: int, inner: int) -> None:
        """A comment, doctype, CDATA section or bogus comment."""
        lower = self.lower
        if mark == b"!--":
            empty = _EMPTY_COMMENT.match(lower, inner, self.end)
            self._go_on(empty.end() if empty else -1)
        elif mark == b"/" and lower.startswith(b">", inner, self.end):
            self.at = inner + 1
        elif self.foreign and self.raw.startswith(b"<![CDATA[", start, self.end):
            self._go_on(lower.find(b"]]>", start + len(b"<![CDATA["), self.end), len(b"]]>"))
        else:
            self._go_on(lower.find(b">", inner, self.end), len(b">"))

    def _go_on(self, offset: int, length: int = 0) -> None:
        """Continues after that offset; -1 means that the construct has no end."""
        self.is_open = offset < 0
        self.at = offset + length

    def _special_tag(self, tag: Tag) -> None:
        name = tag.name
        if self.in_select:
            if name == b"select" or (name in _LEAVES_SELECT and not tag.is_closing):
                self.in_select = False
            else:
                self.ambiguity = "select"  # old and new browsers differ on what may stand in it
            if name != b"textarea":
                return
        if tag.is_closing:
            if name == b"template":
                self.templates = max(0, self.templates - 1)
        elif name in _RAW_TEXT:
            close = _RAW_TEXT[name].search(self.lower, tag.end, self.end)
            self._go_on(close.start() if close else -1)
        elif name == b"script":
            self._go_on(self._script_end())
        elif name == b"plaintext":
            self.is_open = True
        elif name == b"template":
            self.templates += 1
            self.has_foreign_content = True
        elif name == b"select":
            self.in_select = True
        elif name == b"frameset":
            self.ambiguity = "frameset"
        elif name in (b"svg", b"math"):
            self.has_foreign_content = True
            if not self._closes_itself(tag):
                self.foreign.append(name)

    def _foreign_tag(self, tag: Tag) -> None:
        """A tag inside svg or math. Anything but well-formed markup is in doubt there (§13.2.6.5)."""
        if tag.is_closing:
            if tag.name not in self.foreign:
                self.ambiguity = "foreign_content"
                return
            while self.foreign.pop() != tag.name:
                pass
        elif tag.name in _BREAKS_OUT or tag.name == b"font" or self.foreign[-1] in _HOLDS_HTML:
            self.ambiguity = "foreign_content"  # `font` ends them if it has one of three attributes
        elif not self._closes_itself(tag):
            self.foreign.append(tag.name)
            if len(self.foreign) > _MAX_FOREIGN_DEPTH:
                self.ambiguity = "foreign_content"

    def _closes_itself(self, tag: Tag) -> bool:
        if self.lower[tag.end - 2 : tag.end - 1] != b"/":
            return False
        # Of all its attributes, twins too: the value of `x=1/` ends in a slash.
        ends = [part.end() for part in html_attributes.ATTRIBUTES.finditer(self.lower, tag.inner, tag.end - 1)]
        return not ends or ends[-1] < tag.end - 1

    def _script_end(self) -> int:
        """Where the end tag of the script begins that begins here; -1 if nowhere. §13.2.5.15 to .31."""
        is_escaped = is_doubly = False
        at = self.at
        while mark := _SCRIPT_MARK.search(self.lower, at, self.end):
            at = mark.end()
            if mark[0] == b"<!--":
                is_escaped = True
                at -= 2  # its own dashes may end it: `<!-->`
            elif mark[0] == b"-->":
                is_escaped = is_doubly = False
            elif not mark[1]:
                is_doubly = is_escaped
            elif is_doubly:
                is_doubly = False
            else:
                return mark.start()
        return -1
