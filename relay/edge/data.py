r"""The octets between 354 and the dot.  RFC 5321 §4.1.1.4, §4.5.2, §2.3.8.

In: blocks as they arrive.  Out: the message, dot-unstuffed, every line CRLF-ended. The end is
CRLF.CRLF and nothing that only resembles it, so that no mail can be smuggled inside another.
Pure: no I/O, the same answer whole or octet by octet. Each block is worked through as it comes (1 ms for
256 KB); at the end of 25 MB its pieces are joined, during which Python lets other threads run.
"""

import re

from relay.mime import line_ends
from relay.reply import RefusedError, Reply

_END = b"\r\n.\r\n"
_DOT_LINE = re.compile(rb"\n\.")
_PIECE_OCTETS = 1 << 20
# RFC 5321 §4.5.2 leaves NUL out; a server that drops it would see an end of data where there is none.
_NUL = Reply(550, "5.6.0", "message has a NUL octet; encode it, in base64 for example (RFC 2045)")
_FAULT = re.compile(rb"\0|\r(?!\n)")
_BARE_CR = Reply(550, "5.6.0", "message has a bare CR; lines end in CRLF (RFC 5321 section 2.3.8)")


class Data:
    """Collects one message. After a refusal it reads to the end and keeps nothing."""

    def __init__(self, limit_octets: int) -> None:
        self._limit = limit_octets
        # As if a line had just ended: the first line may be the dot, or be dot-stuffed.
        self._carry = b"\r\n"
        self._pieces: list[bytes] = []
        self._octets = bytearray()  # since the last piece
        self._size = 0  # of all, with the line end in front
        self._refusal: Reply | None = None

    def feed(self, block: bytes) -> bytes | None:
        """Takes the next block. None: more is to come. Octets: the end was seen, and these stood after it."""
        wire = self._carry + block
        has_dot_line = b"." in wire and _DOT_LINE.search(wire) is not None  # base64 has no dot
        end = wire.find(_END) if has_dot_line else -1
        if end >= 0:
            self._append(wire[: end + 2], has_dot_line)
            return wire[end + len(_END) :]
        # What may be the beginning of the end waits for the next block; so neither CRLF nor CRLF. is ever cut in two.
        undecided = next(n for n in range(len(_END) - 1, -1, -1) if wire.endswith(_END[:n]))
        self._carry = wire[len(wire) - undecided :]
        self._append(wire[: len(wire) - undecided], has_dot_line)
        return None

    def refuse(self, reply: Reply) -> None:
        """Refuses the message. The first reason is the one that `finish` raises."""
        self._refusal = self._refusal or reply
        self._pieces, self._octets = [], bytearray()

    @property
    def is_refused(self) -> bool:
        """True once nothing is kept any more."""
        return self._refusal is not None

    def _append(self, piece: bytes, has_dot_line: bool) -> None:
        if self._refusal or not piece:
            return
        if has_dot_line:
            piece = piece.replace(b"\r\n.", b"\r\n")
        has_only_crlf = line_ends.has_only_crlf(piece)
        if (b"\0" in piece or not has_only_crlf) and (fault := _FAULT.search(piece)):
            self.refuse(_NUL if fault[0] == b"\0" else _BARE_CR)
            return
        if not has_only_crlf:  # lone LFs
            piece = piece.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        self._octets += piece if self._size else piece[2:]
        self._size += len(piece)
        if len(self._octets) > _PIECE_OCTETS:
            self._pieces.append(bytes(self._octets))
            self._octets.clear()
        if self._size - 2 > self._limit:
            self.refuse(Reply(552, "5.3.4", f"message is larger than the {self._limit} octets allowed here"))

    def finish(self) -> bytes:
        """The message, once. Raises RefusedError if it is too large, or has a bare CR or a NUL."""
        if self._refusal:
            raise RefusedError(self._refusal)
        pieces, last = self._pieces, bytes(self._octets)
        self._pieces, self._octets = [], bytearray()
        return b"".join([*pieces, last])
