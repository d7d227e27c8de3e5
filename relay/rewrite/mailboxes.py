"""The mailboxes of an address field: the authors and recipients that a mail names.

In: the value of From or Sender, unfolded.  Out: its addresses in order, or None where two readers could tell different
ones.  RFC 5322 §3.4; what is in quotes or comments is no address.  In: a message for a server without SMTPUTF8.  Out:
the same with A-labels in its address fields (RFC 5890, RFC 6531 §3.2).
"""

import re

from relay import domain_names
from relay.edits import Edit, splice
from relay.mime import fields

MAX_OCTETS = 4096  # of a field; a longer one has no addresses
_OUTSIDE = re.compile(rb'[^"()\\]++|\\.?|"(?:[^"\\]|\\.)*+"|["()]', re.DOTALL)
_IN_COMMENT = re.compile(rb"[^()\\]++|\\.?|[()]", re.DOTALL)  # a quote begins nothing there
_MAILBOX = re.compile(rb'(?:[^<>]*+<)?+[ \t]*+((?:"++|[^<>@\s()":;\\]++)@[^<>@\s()":;\\]++)[ \t]*+(>?)[ \t]*+')
_STRING = re.compile(rb'"++')
_DOMAIN = re.compile(rb'@([^<>@\s",:;\[\]]++)')
_NO_LOCAL_PART = b"<>@ \t\r\n,:;"
_ADDRESS_FIELDS = frozenset(
    f"{resent}{name}".encode() for resent in ("", "resent-") for name in ("from", "sender", "reply-to", "to", "cc")
) | {b"disposition-notification-to", b"errors-to"}


def parse_mailboxes(value: bytes) -> list[str] | None:
    """The mailboxes. A quoted local part is given as `""`, with its domain."""
    if len(value) > MAX_OCTETS:
        return None
    bare = _mask_value(value)
    if bare is None:
        return None
    found: list[str] = []
    for one in bare.split(b","):
        if b"@" in one:
            mailbox = _MAILBOX.fullmatch(one)
            if mailbox is None or one.count(b"<") != one.count(b">") or one.count(b"<") > 1:
                return None
            found.append(_STRING.sub(b'""', mailbox[1]).decode("utf-8", "replace"))
        elif b"<" in one or b">" in one:
            return None
    return found


def with_ascii_domains(octets: bytes) -> bytes | None:
    """The message with the addresses of its header in A-labels. None where a local part is beyond ASCII, or a domain
    has no A-labels. Words beside the addresses stay.
    """
    head = fields.parse_head(octets, 0, len(octets))
    edits: list[Edit] = []
    for field in head.fields:
        value = octets[field.value : field.end]
        if field.name not in _ADDRESS_FIELDS or value.isascii():
            continue
        masked = _mask_value(value) or b""
        for found in _DOMAIN.finditer(masked):
            domain, begin = found[1], found.start()
            while begin and masked[begin - 1] not in _NO_LOCAL_PART:
                begin -= 1
            name = domain_names.to_ascii(domain.decode("utf-8", "replace"))
            if not value[begin : found.start()].isascii() or name is None or not name.isascii():
                return None
            if not domain.isascii():
                start, end = (field.value + offset for offset in found.span(1))
                edits.append(Edit(start, end, name.encode("ascii"), "a_label"))
    return splice(octets, edits)


def _mask_value(value: bytes) -> bytes | None:
    """As long as the value, with strings as quotes only and comments as blanks; None where one of them has no end."""
    out: list[bytes] = []
    at = depth = 0
    while found := (_IN_COMMENT if depth else _OUTSIDE).match(value, at):
        token, at = found[0], found.end()
        if depth or token == b"(":
            depth += {b"(": 1, b")": -1}.get(token, 0)
            out.append(b" " * len(token))
        elif token in (b")", b'"'):
            return None
        else:
            out.append(b'"' * len(token) if token.startswith(b'"') else token)
    return None if depth else b"".join(out)
