r"""The octets between 354 and the dot.  RFC 5321 §4.1.1.4, §4.5.2, §2.3.8.

In: blocks as they arrive.  Out: the message, dot-unstuffed, every line CRLF-ended. The end is
CRLF.CRLF and nothing that only resembles it, so that no mail can be smuggled inside another.
Pure: no I/O, the same answer whole or octet by octet.
"""

from relay.reply import refused

_END = b"\r\n.\r\n"


class Data:
    """Collects one message. Over the limit it keeps on reading and keeps nothing."""

    def __init__(self, limit_octets: int) -> None:
        self._limit = limit_octets
        # As if a line had just ended: the first line may be the dot, or be dot-stuffed.
        self._octets = bytearray(b"\r\n")
        self._too_much = False

    def feed(self, block: bytes) -> bytes | None:
        """Takes the next block. None: more is to come. Octets: the end was seen, and these stood after it."""
        octets = self._octets
        searched = max(0, len(octets) - len(_END) + 1)
        octets += block
        end = octets.find(_END, searched)
        if end < 0:
            # Room for dot-stuffing: a message within the limit may be larger on the wire.
            if self._too_much or len(octets) > self._limit + self._limit // 8 + 1024:
                self._too_much = True
                del octets[: -len(_END)]
            return None
        rest = bytes(octets[end + len(_END) :])
        del octets[end + 2 :]
        return rest

    def finish(self) -> bytes:
        """The message. Raises Refused if it is too large or has a bare CR."""
        octets = bytes(self._octets).replace(b"\r\n.", b"\r\n")[2:]
        self._octets = bytearray()
        if self._too_much or len(octets) > self._limit:
            raise refused(552, "5.3.4", f"message is larger than the {self._limit} octets allowed here")
        ends = octets.count(b"\r\n")
        if octets.count(b"\r") != ends:
            raise refused(550, "5.6.0", "message has a bare CR; lines end in CRLF (RFC 5321 section 2.3.8)")
        if octets.count(b"\n") != ends:
            octets = octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        return octets
