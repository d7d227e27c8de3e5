"""Find who could not be reached in a report that is written for people.

In: the text of a notice, and what is known of the mail around it.  Out: recipients, each with the words about it.
No standard: MTAs put the address on a line of its own, before or behind the reason, or into a sentence.

Every address of the notice is a candidate of a grade, by how it stands there; the best grade that occurs wins.
"""

import re
from typing import NamedTuple

from relay.bounce import failure, wording

MAX_LINES = 3000
MAX_RECIPIENTS = 1000


class Named(NamedTuple):
    """A recipient and the lines that speak of it."""

    address: str
    words: str


_TRACE = re.compile(
    r"^[> \t]*(?:Received|Return-Path|X-Original-To|DKIM-Signature|X-Received|MIME-Version):\s*\S", re.IGNORECASE
)
_FIELD_LINE = re.compile(r"^[> \t]*[A-Za-z][A-Za-z0-9-]*:\s|^[ \t]+\S")

_REPLY = re.compile(r"(?<![\w.])[45]\d\d(?:[ -]|$)|[45]\.\d{1,3}\.\d{1,3}")


def notice(text: str) -> tuple[str, str]:
    """The text before the returned mail, and the rest."""
    lines = text.split("\n")[:MAX_LINES]
    for at, line in enumerate(lines):
        if at and _begins_original(line[:200]) and any(line.strip() for line in lines[:at]):
            return "\n".join(lines[:at]), "\n".join(lines[at:])
        if _TRACE.match(line) and all(_FIELD_LINE.match(next_) for next_ in lines[at + 1 : at + 3]):
            return "\n".join(lines[:at]), "\n".join(lines[at:])
    return "\n".join(lines), ""


def _begins_original(line: str) -> bool:
    return bool(wording.pattern("notice", "original", r"^[\W_]*{}").search(line))


def recipients(text: str, others: frozenset[str]) -> list[Named]:
    """Whom the notice says could not be reached. `others`: addresses in lower case that it cannot mean."""
    graded: dict[int, dict[str, int]] = {}
    lines = text.split("\n")
    under_lead = False
    for at, line in enumerate(lines):
        line = line[:1000]
        for match in failure.ADDRESS.finditer(line):
            address = match["address"].rstrip(".")
            grade = _grade(line, match.start("address"), match.end("address"), under_lead)
            if grade and address.lower() not in others and len(graded.get(grade, ())) < MAX_RECIPIENTS:
                graded.setdefault(grade, {}).setdefault(address, at)
        if line.strip():
            under_lead = bool(wording.pattern("notice", "leads", r"{}[^\n]*:\W*$").search(line)) or (
                under_lead and line[:1] in " \t<"
            )
    if not graded:
        return []
    best = graded[max(graded)]
    unique = {address.lower(): (address, at) for address, at in reversed(best.items())}
    places = sorted(unique.values(), key=lambda place: place[1])
    starts = [at for _, at in places] + [len(lines)]
    return [Named(address, _words(lines, at, starts[n + 1])) for n, (address, at) in enumerate(places)]


def _grade(line: str, start: int, end: int, under_lead: bool) -> int:
    before, after = line[:start].rstrip(" \t<\"'([:"), line[end:].lstrip(" \t>\"')]")
    if wording.pattern("notice", "others", r"{}\W*\S*\W*$").search(line[:start]):
        return 0
    if not before.strip(" \t*->|"):
        if not after.strip(" \t.,;:-") or after[:1] in ":(" or after.startswith("..."):
            return 5 if under_lead else 4
        return 4 if _REPLY.match(after) or under_lead else 3
    if _REPLY.search(before[-60:]) or _REPLY.search(after[:40]):
        return 3
    return 2 if wording.pattern("notice", "recipient", r"{}\W*(?:to|for|an|à)?\W*$").search(before) else 1


def _words(lines: list[str], start: int, end: int) -> str:
    """From the address to the next one, at most to the blank line after something was said."""
    said: list[str] = []
    for line in lines[start : min(end, start + 30)]:
        if not line.strip() and len(said) > 1:
            break
        if line.strip():
            said.append(line.strip())
    return "\n".join(said)
