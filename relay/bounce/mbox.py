"""Part a mailbox file into its mails.  RFC 4155.

In: the octets of a file.  Out: each mail; a file that does not begin with a "From " line is one mail.
"""

import re
from collections.abc import Iterator

# "From " and a time of day behind a blank line, and a header field under it.
_FROM = re.compile(rb"(?:\A|(?<=\n\n)|(?<=\n\r\n))From [^\r\n]{0,300}\d:\d\d[^\r\n]{0,60}\r?\n(?=[!-9;-~]{1,60}:)")


def split_mails(octets: bytes) -> Iterator[bytes]:
    """The mails of the file, in order, "From " lines left on."""
    if not octets.startswith(b"From "):
        yield octets
        return
    starts = [found.start() for found in _FROM.finditer(octets)] or [0]
    starts[0] = 0
    for start, end in zip(starts, [*starts[1:], len(octets)], strict=True):
        yield octets[start:end]
