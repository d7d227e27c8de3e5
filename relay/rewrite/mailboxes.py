"""The mailboxes of an address field: who a mail says it is from.

In: the value of From or Sender, unfolded.  Out: its addresses in order, or None where two readers could tell different
ones.  RFC 5322 §3.4; what is in quotes or comments is no address.
"""

import re

MAX_OCTETS = 4096  # of a field; more is nobody's
_OUTSIDE = re.compile(rb'[^"()\\]++|\\.?|"(?:[^"\\]|\\.)*+"|["()]', re.DOTALL)
_IN_COMMENT = re.compile(rb"[^()\\]++|\\.?|[()]", re.DOTALL)  # a quote begins nothing there
_MAILBOX = re.compile(rb'(?:[^<>]*+<)?+[ \t]*+((?:""|[^<>@\s()":;\\]++)@[^<>@\s()":;\\]++)[ \t]*+(>?)[ \t]*+')


def read(value: bytes) -> list[str] | None:
    """The mailboxes. A quoted local part is given as `""`: it is nobody's in particular, but its domain stands."""
    if len(value) > MAX_OCTETS:
        return None
    bare = _without_words(value)
    if bare is None:
        return None
    who: list[str] = []
    for one in bare.split(b","):
        if b"@" in one:
            mailbox = _MAILBOX.fullmatch(one)
            if mailbox is None or one.count(b"<") != one.count(b">") or one.count(b"<") > 1:
                return None
            who.append(mailbox[1].decode("utf-8", "replace"))
        elif b"<" in one or b">" in one:
            return None
    return who


def _without_words(value: bytes) -> bytes | None:
    """Strings as `""`, comments as a blank; None where one of them has no end."""
    out: list[bytes] = []
    at = depth = 0
    while found := (_IN_COMMENT if depth else _OUTSIDE).match(value, at):
        token, at = found[0], found.end()
        if token == b"(":
            depth += 1
        elif token == b")" and depth:
            depth -= 1
            out.append(b" ")
        elif depth:
            continue
        elif token in (b")", b'"'):
            return None
        else:
            out.append(b'""' if token.startswith(b'"') else token)
    return None if depth else b"".join(out)
