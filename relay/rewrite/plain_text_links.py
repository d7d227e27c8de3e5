"""Links in text/plain: where a URL begins and ends, and which can be replaced without harm.

In: a text leaf, its unsubscribe placeholders and the rules.  Out: templates in the leaf's decoded offsets, the links
for the report, and reasons. RFC 3986 appendix C, RFC 3676 §4. Only the octets of a URL are replaced: no line is added,
joined, stuffed or quoted anew. Where two readers could see a URL end at two places it stays, for what they would take
for its rest would spoil ours.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from relay import edits
from relay.mime import charset
from relay.mime.transfer_encoding import MAX_LINE
from relay.rewrite import line_length, links
from relay.rewrite.edit_templates import EditTemplate, TransferEncoding, click_hole, max_url_octets
from relay.rewrite.links import Link
from relay.rewrite.text_part import TextPart

# RFC 3986 §2 and what else stands in real URLs: all printable ASCII but the delimiters of appendix C. What is
# not ASCII ends it, and must not look like its rest.
_RUN = re.compile(rb"https?://[!#-;=?-~]*", re.IGNORECASE)
_LINE_END, _LINE_END_DELSP = (b"\r\n",), (b" \r\n",)
_OPENS = b"<([{\"'*_|`>,;:!"
# Those of that list that cannot be the second half of a double-byte character, and the codecs that have such.
_SURELY_OPENS = b"<(\"'*>,;:!"
_DOUBLE_BYTE = re.compile("big5|cp9(?:32|49|50)|euc|gb|shift")
_ASCII_AGAIN = (b"\x1b(B", b"\x1b(J")  # ISO-2022-JP
_BRACKET = re.compile(r"[()\[\]{}]")
_PAIRS = {")": "(", "]": "[", "}": "{"}
_AROUND = ".,;:!?'\"`([{"  # never the end of a URL that stands in a sentence
_CLOSES = _AROUND + ")]}*_|~"
_TWO_URLS = re.compile(r"[,;|()\[\]*'`]https?://", re.IGNORECASE)
_TO_ANGLE = re.compile(rb"[^<>]{1,2000}>")
_MAX_SHOWN, _MAX_REST = 2000, 300  # characters of a URL that is left alone
_REST = re.compile(r"[^\s<>\"]*")


class TextUrl(NamedTuple):
    """`octets[start:end]` is a URL, left alone if there is a reason."""

    start: int
    end: int
    url: str
    reason: str


class TextEdits(NamedTuple):
    templates: list[EditTemplate]
    links: list[Link]
    reasons: list[str]


def instrument_text(leaf: TextPart, placeholders: list[EditTemplate], rules: links.LinkRules, number: int) -> TextEdits:
    """The templates for a text, its links numbered from `number`; with `text_links` off only the placeholders'."""
    wanted: list[tuple[EditTemplate, Link | None]] = [(placeholder, None) for placeholder in placeholders]
    shown: list[Link] = []
    following = iter(placeholders)
    placeholder = next(following, None)
    for found in find_urls(leaf) if rules.text_links else ():
        while placeholder and placeholder.end <= found.start:
            placeholder = next(following, None)
        target = b""
        reason = placeholder.why if placeholder and placeholder.start < found.end else found.reason
        if not reason and number + len(shown) > links.MAX_TRACKED:
            reason = "too_many_links"
        if not reason:
            reason, target = links.decide_url(found.url, rules, leaf.codec)
        link = Link(number + len(shown), found.url, "skipped" if reason else "tracked", reason, found.url)
        shown.append(link)
        if not reason:
            hole = click_hole(rules.public_url, link.number, target)
            wanted.append((EditTemplate(found.start, found.end, (hole,), "click"), link))
    wanted.sort(key=lambda pair: pair[0].start)
    reasons: list[str] = []
    if leaf.coding is TransferEncoding.PLAIN:
        wanted = _add_line_ends(leaf, wanted, rules.public_url)
        wanted, lost = _fit_into_lines(leaf.octets, wanted, rules.public_url)
        if None in lost:
            reasons.append("no_room_for_unsubscribe")
        shown = [link.as_skipped("line_too_long") if link in lost else link for link in shown]
    return TextEdits([template for template, _ in wanted], shown, reasons)


def _add_line_ends(
    leaf: TextPart, pairs: list[tuple[EditTemplate, Link | None]], public_url: str
) -> list[tuple[EditTemplate, Link | None]]:
    """The same, and where a placeholder would make a line too long, the spaces around it made line ends: a link to
    unsubscribe by must not stay a placeholder."""
    octets, is_flowed, deletes_spaces = leaf.octets, _is_flowed(leaf), _deletes_spaces(leaf)
    made: list[tuple[EditTemplate, Link | None]] = []
    begin = grown = 0  # of the line that we are in
    for n, (template, link) in enumerate(pairs):
        past = made[-1][0].end if made else 0
        line_end = octets.rfind(b"\n", past, template.start) + 1
        begin, grown = (line_end, 0) if line_end else (begin, grown)
        growing = _growth(template, public_url)
        rest = octets[template.end : template.end + MAX_LINE].partition(b"\r\n")[0]
        if link is not None or template.end - begin + grown + growing + len(rest) <= MAX_LINE:
            made.append((template, link))
            grown += growing
            continue
        space = octets.rfind(b" ", max(past, begin, template.start - MAX_LINE), template.start)
        if space > begin and octets[begin:space].strip(b" "):  # else there would be an empty line
            made.append((_line_end(space, is_flowed, deletes_spaces), None))
            begin, grown = space + 1, 0
        made.append((template, link))
        grown += growing
        space = octets.find(b" ", template.end, template.end + len(rest.rstrip(b" ")))
        is_free = n + 1 == len(pairs) or space < pairs[n + 1][0].start
        is_long = template.end - begin + grown + len(rest) > MAX_LINE
        # No line of ours begins like a delimiter, a quotation or `From `.
        if space >= 0 and is_free and is_long and not octets.startswith((b"-", b">", b"From "), space + 1):
            made.append((_line_end(space, is_flowed, deletes_spaces), None))
            begin, grown = space + 1, 0
    return made


def _line_end(space: int, is_flowed: bool, deletes_spaces: bool) -> EditTemplate:
    """A line end in place of the space, or behind it where the paragraph is to go on (RFC 3676 §4.2: a line that ends
    with a space flows; with DelSp that space is deleted, so that the line needs another one)."""
    if not is_flowed:
        return EditTemplate(space, space + 1, _LINE_END, "unsubscribe")
    return EditTemplate(space + 1, space + 1, _LINE_END_DELSP if deletes_spaces else _LINE_END, "unsubscribe")


def _growth(template: EditTemplate, public_url: str) -> int:
    return sum(_max_length(piece, public_url) for piece in template.pieces) - (template.end - template.start)


def _fit_into_lines(
    octets: bytes, pairs: list[tuple[EditTemplate, Link | None]], public_url: str
) -> tuple[list[tuple[EditTemplate, Link | None]], set[Link | None]]:
    """What fits without a line of over 998 octets, and what does not."""
    events = [
        line_length.LineEdit(
            template.start,
            template.end,
            sum(_max_length(piece, public_url) for piece in template.pieces),
            may_break=False,
        )
        for template, _ in pairs
    ]
    is_end = [template.pieces in (_LINE_END, _LINE_END_DELSP) for template, _ in pairs]
    kept = line_length.edits_that_fit(octets, events, [link is None for _, link in pairs], is_end)
    lost = {link for n, (_, link) in enumerate(pairs) if n not in kept}
    return [pair for n, pair in enumerate(pairs) if n in kept], lost


def _max_length(piece: edits.Piece, public_url: str) -> int:
    return len(piece) if isinstance(piece, bytes) else max_url_octets(public_url, piece)


def find_urls(leaf: TextPart) -> Iterator[TextUrl]:
    """The http(s) URLs of the text in order, each with the reason why it is left alone, if there is one."""
    octets, masked = leaf.octets, leaf.masked
    glues = _deletes_spaces(leaf)
    is_simple = not _DOUBLE_BYTE.match(leaf.codec)
    opens = _OPENS if is_simple else _SURELY_OPENS
    at = 0
    while begun := _RUN.search(masked, at):
        start = begun.start()
        run = _RUN.match(octets, start)  # a mask would look like its rest
        at = end = run.end() if run else begun.end()
        if not _stands_apart(masked, start, opens, is_simple):
            continue
        url = octets[start:end].decode("ascii")
        size, reason = len(url), ""
        in_angles = masked[start - 1 : start] == b"<" or masked[max(0, start - 5) : start].upper() == b"<URL:"
        if not (in_angles and masked[end : end + 1] == b">"):
            size, reason = _trim_punctuation(url, masked[start - 1 : start].decode("latin-1") if start else "")
            reason = _reason_to_go_on(leaf, end, in_angles, glues) or reason
        if glues and _continues_last_line(masked, start):
            reason = "flowed"
        if reason:
            if rest := _REST.match(charset.decode_text(octets[end : end + _MAX_REST], leaf.codec)):
                url += rest[0]
            yield TextUrl(start, end, url[:_MAX_SHOWN], reason)
        else:
            yield TextUrl(start, start + size, url[:size], "")


def _deletes_spaces(leaf: TextPart) -> bool:
    """RFC 3676 §4.1: without DelSp a soft line break is a space, which ends a URL; with it, nothing."""
    return _is_flowed(leaf) and leaf.part.parameters.get("delsp", "").lower() == "yes"


def _is_flowed(leaf: TextPart) -> bool:
    return leaf.part.parameters.get("format", "").lower() == "flowed"


def _stands_apart(masked: bytes, start: int, opens: bytes, is_simple: bool) -> bool:
    """True if no word, and no other URL, goes on here."""
    if start == 0:
        return True
    before = masked[start - 1]
    if before in b" \t\r\n" or before in opens or (before > 0x7F and is_simple):
        return True
    return masked[start - 3 : start] in _ASCII_AGAIN


def _continues_last_line(masked: bytes, start: int) -> bool:
    """True if a line begins here, perhaps quoted, that goes on with the last word of the line before."""
    cut = masked.rfind(b"\n", max(0, start - 100), start)
    if cut < 0 or masked[cut + 1 : start].lstrip(b">") not in (b"", b" "):
        return False
    before = masked[max(0, cut - 6) : cut].removesuffix(b"\r")
    is_signature = before.rpartition(b"\n")[2] == b"-- "  # RFC 3676 §4.3: its line does not flow
    return before.endswith(b" ") and before[-2:-1] not in (b" ", b"\n", b"") and not is_signature


def _trim_punctuation(url: str, before: str) -> tuple[int, str]:
    """How many characters of the run are the URL, and why it is left alone, if it is.

    Punctuation and brackets that the sentence closes are not the URL's; those that it opened itself are.
    """
    size = len(url)
    depth = dict.fromkeys("([{", 0)
    for bracket in _BRACKET.finditer(url):
        if bracket[0] in depth:
            depth[bracket[0]] += 1
        elif depth[_PAIRS[bracket[0]]]:
            depth[_PAIRS[bracket[0]]] -= 1
        else:
            size = bracket.start()
            break
    if url[size:].strip(_CLOSES) or _TWO_URLS.search(url):
        return size, "ambiguous"
    kept = url[:size].rstrip(_AROUND + (before if before in ("*", "|") else ""))
    # `_` is a letter of our tokens, so nothing that a reader might take for a part of one follows it.
    is_elided = url[len(kept) :].startswith("...") or (before == "_" and kept.endswith("_"))
    return len(kept), "ambiguous" if is_elided else ""


def _reason_to_go_on(leaf: TextPart, end: int, in_angles: bool, glues: bool) -> str:
    """Why what follows the run could be read as more of the URL; "" if it could not."""
    masked = leaf.masked
    if glues and masked.startswith(b" \r\n", end):
        return "flowed"
    if masked.startswith(b"<%", end):
        return "placeholder"
    if in_angles and _TO_ANGLE.match(masked, end):
        return "broken"  # RFC 3986 appendix C: white space inside the angles is not the URL's
    if leaf.octets[end : end + 1] <= b"\x7f" and leaf.octets[end : end + 1] != b"\x1b":
        return ""
    character = charset.decode_text(leaf.octets[end : end + 8], leaf.codec)[:1]
    if character == "…":
        return "ambiguous"
    is_other = not character or unicodedata.category(character)[0] in "ZPS"
    return "" if is_other and character != "\ufffd" else "not_ascii"
