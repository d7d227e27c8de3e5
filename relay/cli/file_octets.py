"""A file's octets as the relay would accept them, and edits of these octets as edits of the file.

In: a mail from a disk.  Out: the same with CRLF line ends and a header section, and what was inserted for that. Nothing
is taken out, so that each offset in the one is an offset in the other.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from relay.edge import header
from relay.edits import Edit, splice

_BARE_LF = re.compile(rb"(?<!\r)\n")


class NormalizedFile(NamedTuple):
    """The octets as the relay has them. `inserted`: offsets of octets that the file does not have, in order, with the
    reason."""

    octets: bytes
    inserted: Mapping[int, str]

    def edits_of_file(self, edits: Sequence[Edit]) -> list[Edit]:
        """The edits, with offsets of the file, and the insertions. Applied to the file they give the same result as the
        edits applied to the octets."""
        offsets = list(self.inserted)
        made: list[Edit] = []
        for edit in self._with_insertions(edits, offsets):
            start, end = (offset - bisect_left(offsets, offset) for offset in (edit.start, edit.end))
            last = made[-1] if made else None
            if last and last.start == last.end == start == end and last.why == edit.why in self.inserted.values():
                made[-1] = last._replace(new=last.new + edit.new)
            else:
                made.append(Edit(start, end, edit.new, edit.why))
        return made

    def _with_insertions(self, edits: Sequence[Edit], offsets: list[int]) -> Iterator[Edit]:
        """The edits in order, with the insertions that no edit replaces. Offsets as in `octets`; an insertion stands
        before the octet that it inserted."""
        n = 0
        for edit in [*edits, Edit(len(self.octets) + 1, len(self.octets) + 1, b"", "")]:
            while n < len(offsets) and offsets[n] < edit.start:
                at = offsets[n]
                yield Edit(at, at, self.octets[at : at + 1], self.inserted[at])
                n += 1
            if edit.start <= len(self.octets):
                yield edit
            while n < len(offsets) and offsets[n] < edit.end:
                n += 1


def normalize_file(octets: bytes) -> NormalizedFile:
    """The file as the edge would accept it. Lines of the file may end in LF, and the last line may have no end."""
    ends = [Edit(found.start(), found.start(), b"\r", "line_end") for found in _BARE_LF.finditer(octets)]
    if octets and not octets.endswith(b"\n"):
        ends.append(Edit(len(octets), len(octets), b"\r\n", "line_end"))
    whole = splice(octets, ends)
    returns = [edit.start + n for n, edit in enumerate(ends)]  # the offset of each CR in `whole`
    for edit in header.find_additions(whole):
        at = edit.start - bisect_left(returns, edit.start)
        ends.append(edit._replace(start=at, end=at))
    ends.sort(key=lambda edit: edit.start)
    inserted: dict[int, str] = {}
    for edit in ends:
        begin = edit.start + len(inserted)
        inserted |= dict.fromkeys(range(begin, begin + len(edit.new)), edit.why)
    return NormalizedFile(splice(octets, ends), inserted)
