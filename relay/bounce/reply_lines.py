"""Replies of SMTP servers as people and programs quote them, in one line of text.

In: `550 5.1.1 no such user`, bare, in a log's line or behind the name of a server.  Out: the reply, and the phase if
the line names one.
"""

import re
from collections.abc import Mapping

from relay import reply
from relay.bounce.classify import Phase
from relay.reply import Reply

_MAX_HEAD = 40  # characters: a phase and its tab
_PHASES: Mapping[str, Phase] = {phase.value: phase for phase in Phase}
# A reply as people paste it: bare, or behind "host mx.example.com[192.0.2.1] said: ", "smtp; ", a log's time.
_BARE = re.compile(r"\A([2-6][0-9]{2})(?=[\s:;,_#-]|$)")
_QUOTED = re.compile(r"(?:[;=(\"'>]|:\s|>:|\.\.\.)\s*+([2-5][0-9]{2})(?=[ -]|['\"]?, )")
_STATED = re.compile(r"\b(?:said|replied|answered|returned|error|code)[:=]?\s++([245][0-9]{2})(?=[ :-])", re.IGNORECASE)
_INSIDE = re.compile(r"(?<![\w.\[-])([245][0-9]{2})(?=[ -]#?[245]\.[0-9]{1,3}\.[0-9]{1,3}\b)")
_LINE_END = re.compile(r"(?:\\r)?\\n|\r\n?|\n")


def find_unknown_phase(line: str) -> str:
    """The word that stands where a phase may, before a tab, and is none; empty if there is no such word."""
    head, tab, _ = line[:_MAX_HEAD].partition("\t")
    word = head.strip()
    return word if tab and word.isalpha() and word.lower() not in _PHASES else ""


def parse_reply_line(line: str, default_phase: Phase) -> tuple[Phase, Reply]:
    """A phase and a reply from one line of text; without a code in it, the reply's code is 0.

    A phase and a tab may stand before the reply. Its lines may be parted by LF, by a written `\\n`, or
    only by the repeated code, as logs join them: `550-5.1.1 one 550 5.1.1 two`.
    """
    head, tab, rest = line.partition("\t")
    phase = _PHASES.get(head.strip().lower(), default_phase)
    if tab and head.strip().lower() in _PHASES:
        line = rest
    line = _LINE_END.sub("\n", line.strip())
    found = _BARE.match(line) or _QUOTED.search(line) or _INSIDE.search(line) or _STATED.search(line)
    if not found:
        return phase, reply.parse_reply(0, line)
    code, rest = found[1], line[found.end() :]
    lines = re.split(rf"(?<!\s)\s+{code}(?=[ -]|$)" if rest.startswith("-") else rf"\n{code}(?=[ -]|$)", rest)
    text = "\n".join(part.lstrip("-:;,_'\" \t").rstrip() for part in lines)
    return phase, reply.parse_reply(int(code), text)
