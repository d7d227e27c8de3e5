"""The header section of an accepted message: that it exists, and that it is within its limits.

In: octets, CRLF-ended.  Out: the same, with an empty line in front if they are text only, so that fields which are
added later are not part of the text; and the section as spans.  RFC 5322 §2.1, §2.2; mbox as in RFC 4155.
"""

import re

from relay.edits import Edit, splice
from relay.mime import fields
from relay.reply import refusal

MAX_OCTETS = 1 << 20
MAX_LINES = 20_000
_FIELD = re.compile(rb"[!-9;-~]{1,2000}+[ \t]{0,2000}+:")
# The line that cron, mbox tools and `sendmail -oi < mail` put first; several lines if a mail was saved twice.
_FROM_LINES = re.compile(rb"(?:>{0,100}+From [^\n]{0,2000}+\n){1,10}+(?=[!-9;-~]{1,2000}+[ \t]{0,2000}+:)")


def complete_header(octets: bytes) -> bytes:
    """The message with the beginning of a header section, as Postfix makes it; every line is kept."""
    edits = find_additions(octets)
    return splice(octets, edits) if edits else octets


def find_additions(octets: bytes) -> list[Edit]:
    """What is put into the message for that: insertions, in order; none for nearly all mail.

    Lines of an mbox become fields named X-Mailbox-Line. A first line that is none of those and no field either begins
    the body: without the empty line that comes before it then, it would continue the last field above it.
    """
    if not octets or _FIELD.match(octets) or octets.startswith(b"\r\n"):
        return []
    found = _FROM_LINES.match(octets)
    if not found:
        return [Edit(0, 0, b"\r\n", "header")]
    starts = [0, *(line.end() for line in re.finditer(rb"\n", found[0]))]
    return [Edit(start, start, b"X-Mailbox-Line: ", "header") for start in starts[:-1]]


def read_header(octets: bytes) -> fields.Head:
    """The header section. Raises RefusedError for one that is out of bounds: nothing has been searched in it then."""
    end = 0 if octets.startswith(b"\r\n") else octets.find(b"\r\n\r\n", 0, MAX_OCTETS + 4)
    if end < 0 and len(octets) > MAX_OCTETS:
        raise refusal(552, "5.3.4", f"the header section is larger than the {MAX_OCTETS} octets allowed here")
    end = len(octets) if end < 0 else min(end + 4, len(octets))
    if octets.count(b"\n", 0, end) - 1 > MAX_LINES:
        raise refusal(552, "5.3.4", f"the header section has more than the {MAX_LINES} lines allowed here")
    return fields.parse_head(octets, 0, end)
