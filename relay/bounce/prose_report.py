"""Find who could not be reached in a report that is written for people.

In: the text of a notice.  Out: recipients, each with the words about it.  No standard: systems put the address on a
line of its own, before or behind the reason, or into a sentence, in any language.

Every address of the notice gets a grade by how it stands there; the best that occur win. Measured on a public corpus
of real reports, that finds more than a pattern for each system, and it also reads systems that nobody has seen yet.
"""

import re
from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

from relay.bounce import recipient_report, word_lists

MAX_LINES = 20_000
MAX_RECIPIENTS = 10_000
MAX_GRADED = 20_000  # addresses that are looked at
_MAX_LINE = 1000
_BLOCK_LINES = 30  # that follow an address and may speak of it


class NamedRecipient(NamedTuple):
    """A recipient, the text about it, and the text about all."""

    address: str
    text: str
    context: str


class Grade(IntEnum):
    """How sure it is that the address is the one: by words around it, or on a line of its own."""

    OTHER = 0
    MENTIONED = 1
    STATED = 2
    LISTED = 3


# `\A` and possessive quantifiers: linear also where a pattern is searched for.
_TRACE = re.compile(
    r"\A(?:> ?)*+(?:received|return-path|x-original-to|dkim-signature|x-received):\s*+\S", re.IGNORECASE
)
_FIELD_LINE = re.compile(r"\A(?:[> \t]*+[A-Za-z][A-Za-z0-9-]*+:(?:\s|$)|[ \t]++\S)")
_REPLY = re.compile(r"(?<![\w.@])[45](?:[0-9]{2}(?=[ :;,)\]-]|$)|\.[0-9]{1,3}\.[0-9]{1,3}\b)")
_EXPANDED = re.compile(r"\b(?:expanded|generated|forwarded|ultimately generated) from:?\W*+$", re.IGNORECASE)
_BULLET = re.compile(r"\A(?:[\s*•·\-–>|#~]|\d{1,3}[.)])*+\Z")
_BARE = re.compile(r"\A<?([\w.+-]{2,64})>?\s{0,3}[:.]?\Z")
_SEPARATOR = re.compile(r"[\s,;<>()]{1,10}(?:(?:and|or|und|et|y|e|и)\s{1,3}<?)?", re.IGNORECASE)


def split_notice(text: str) -> tuple[str, str]:
    """The text before the returned mail, and the rest."""
    lines = text.split("\n", MAX_LINES)[:MAX_LINES]
    begins = word_lists.list_pattern("notice", "original", r"^[\W_]*+{}")
    for at, line in enumerate(lines):
        cut = begins.search(line[:200]) or (
            _TRACE.match(line) and all(_FIELD_LINE.match(below) for below in lines[at + 1 : at + 3])
        )
        if cut and any(above.strip(" -=_*#") for above in lines[:at]):
            return "\n".join(lines[:at]), "\n".join(lines[at:])
    return "\n".join(lines), ""


def find_recipients(
    text: str,
    other_addresses: frozenset[str],
    min_grade: Grade = Grade.STATED,
    excluded_addresses: frozenset[str] = frozenset(),
) -> list[NamedRecipient]:
    """Whom the notice says could not be reached, in its order.

    `other_addresses`: in lower case that it means only where it lists them; `excluded_addresses`: not even there;
    `min_grade`: an address below that grade does not count.
    """
    lines = [line[:_MAX_LINE] for line in text.split("\n", MAX_LINES)[:MAX_LINES]]
    places: dict[str, tuple[Grade, int, str]] = {}
    graded, most = 0, Grade.LISTED
    for at, line in enumerate(lines):
        if line.rstrip() == "--":
            most = Grade.MENTIONED  # a signature
        # In a session's transcript each command names everybody.
        if "@" not in line or line.lstrip().startswith(("<<<", ">>>")) or graded >= MAX_GRADED:
            continue
        last_end, grade = 0, Grade.OTHER
        for match in recipient_report.ADDRESS.finditer(line):
            graded += 1
            address = match["address"].rstrip(".")
            key = address.lower()
            if not (last_end and _SEPARATOR.fullmatch(line, last_end, match.start("address"))):
                grade = min(_grade_address(line, match.start("address"), match.end("address")), most)
            last_end = match.end("address")
            # People write to themselves, too; then it is listed.
            if key in excluded_addresses or (key in other_addresses and grade < Grade.LISTED):
                continue
            if grade is Grade.LISTED and at and _is_senders_own(lines[at - 1]):
                continue
            if _EXPANDED.search(line[: match.start("address")].rstrip(" \t<")):
                # The address above is what this one expands to; this one was mailed.
                above = next((one for one in reversed(places) if places[one][0] is Grade.LISTED), "")
                if above and at - 2 <= places[above][1] < at:
                    places[key] = Grade.LISTED, places.pop(above)[1], address
                    continue
            if key not in places or grade > places[key][0]:
                places[key] = grade, at, address
    best = max((grade for grade, _, _ in places.values()), default=Grade.OTHER)
    if best < max(min_grade, Grade.MENTIONED):
        return []
    chosen = sorted((at, address) for grade, at, address in places.values() if grade is best)
    # "ann@local-store" beside "ann@example.com": the internal name beside the address that was mailed.
    chosen = [place for place in chosen if "." in place[1].rpartition("@")[2]] or chosen
    return list(_attach_texts(lines, chosen))


def find_bare_names(text: str, domain: str) -> list[NamedRecipient]:
    """Recipients that are listed without a domain, as a receiver does that knows only its own."""
    lines = [line[:_MAX_LINE] for line in text.split("\n", MAX_LINES)[:MAX_LINES]]
    leads = word_lists.list_pattern("notice", "leads")
    chosen: list[tuple[int, str]] = []
    is_list = False
    for at, line in enumerate(lines):
        bare = _BARE.match(line.strip())
        if is_list and bare and len(chosen) < MAX_RECIPIENTS:
            chosen.append((at, f"{bare[1]}@{domain}"))
        elif line.strip():
            head, colon, behind = line.rpartition(":")
            is_list = bool(colon) and not any(map(str.isalnum, behind)) and bool(leads.search(head))
    return list(_attach_texts(lines, chosen))


def _grade_address(line: str, start: int, end: int) -> Grade:
    before, after = line[:start].rstrip(" \t<\"'([:“«「"), line[end:].lstrip(" \t>\"')]”»」")
    if _EXPANDED.search(before):
        return Grade.LISTED
    if _is_senders_own(before):
        return Grade.OTHER
    if before[-2:].lower() == "to" and not any(map(str.isalnum, before[:-2])):
        return Grade.MENTIONED  # all whom the mail was for
    if _BULLET.match(before):
        if not after.strip(" \t.,;:-|") or after[0] in ":(,;|<[" or after.startswith(("...", "- ", "\u2026")):
            return Grade.LISTED
        return Grade.LISTED if _REPLY.match(after) else Grade.STATED
    if word_lists.list_pattern("notice", "recipient", r"(?<!\w){}\W*+(?:(?:to|for|an|à)\W*+)?$").search(before[-80:]):
        return Grade.STATED
    if _REPLY.search(before[-60:]) or _REPLY.search(after[:60]):
        return Grade.STATED
    if not after.strip(" .") and line[:start].rstrip(" \t<\"'(").endswith(":"):
        return Grade.STATED
    return (
        Grade.STATED if word_lists.list_pattern("notice", "behind", r"^\W*+{}").search(after[:80]) else Grade.MENTIONED
    )


def _is_senders_own(before: str) -> bool:
    """True if the words before an address say that it is the sender's, or of somebody who helps."""
    return bool(word_lists.list_pattern("notice", "others", r"(?<!\w){}(?:\W++\w++)?\W*+$").search(before[-80:]))


def _attach_texts(lines: list[str], places: list[tuple[int, str]]) -> Iterable[NamedRecipient]:
    """The text about each: what follows it, else lines elsewhere that name it, else the text about all."""
    replies: dict[str, list[str]] = {}
    common: list[str] = []
    command_to = ""
    # Between the first and the end of the last one's block a reply is somebody's own.
    own_lines = range(0)
    if len(places) > 1:
        last = places[-1][0]
        own_lines = range(places[0][0], last + max(1, len(_read_block(lines, last, len(lines)))))
    for at, line in enumerate(lines):
        line_addresses = (
            {match["address"].rstrip(".").lower() for match in recipient_report.ADDRESS.finditer(line)}
            if "@" in line
            else set()
        )
        if line.lstrip().startswith(">>>"):
            command_to = next(iter(line_addresses), "")
        elif _REPLY.search(line):
            paragraph = "\n".join(_read_paragraph(lines, at))
            addresses = line_addresses or ({command_to} - {""} if line.lstrip().startswith("<<<") else set())
            for address in addresses:
                replies.setdefault(address, []).append(paragraph)
            if len(common) < 5 and (len(places) == 1 or not (addresses or at in own_lines)):
                common.append(paragraph)
    # With several, what stands behind the first may be about another one.
    general = lines[: places[0][0]] if len(places) > 1 else lines
    context = "\n".join(line.strip() for line in general[:60] if line.strip())
    for n, (at, address) in enumerate(places):
        end = next((later for later, _ in places[n + 1 :] if later > at), len(lines)) if n < 1000 else at + 10
        own = "\n".join(_read_block(lines, at, end))
        if not _REPLY.search(own.replace(address, "")):
            own_replies = replies.get(address.lower())
            own = "\n".join([*own_replies[-2:], own] if own_replies else [own, *common[:1]])
        yield NamedRecipient(address, own, context)


def _read_paragraph(lines: list[str], at: int) -> list[str]:
    """The line and those under it up to a blank one."""
    paragraph = []
    for line in lines[at : at + 8]:
        if not line.strip():
            break
        paragraph.append(line.strip(" \t><"))
    return paragraph


def _read_block(lines: list[str], start: int, end: int) -> list[str]:
    """From the address to the next one, at most to the blank line after something was said."""
    block: list[str] = []
    for line in lines[start : min(end, start + _BLOCK_LINES)]:
        if not line.strip() and len(block) > 1:
            break
        if line.strip():
            block.append(line.strip())
    return block
