"""What is said on a connection to an upstream, for the attempts that do not deliver.

In: commands and received octets, with the event loop's times.  Out: for a recipient, the lines of its conversation. The
octets of a mail, credentials and the addresses of other recipients are in none of them. While a mail is sent, a few
items are appended to a list; lines are made of them only when an attempt has failed.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import aiosmtplib
from aiosmtplib.typing import Default

from relay import conversation
from relay.conversation import ConversationLine, Direction
from relay.reply import Reply

MAX_RECEIVED = 1 << 14  # octets of one transaction that are recorded
_CREDENTIALS = "[credentials]"
_CLEAR_COMMANDS = (b"EHLO", b"HELO", b"STARTTLS")
_LAST_LINE = re.compile(rb"[0-9]{3}(?:[ \r\n]|$)")  # of a reply: no hyphen after the code
_RCPT = b"RCPT TO:"
_SHARED = -1


RECEIVED = -1
# When octets were sent at once or arrived together, the octets, and RECEIVED; or how many octets of a mail were sent, 0
# for commands. A plain tuple: each mail makes four.
ExchangeItem = tuple[float, bytes, int]


class HandshakeRecord:
    """From the beginning of a connection until it is ready for mail."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.begun_s = clock()
        self.lines: list[ConversationLine] = []
        self._clock = clock

    def begin(self, address: str) -> None:
        """The connection is begun now."""
        self.begun_s = self._clock()
        self.note(f"connecting to {address}")

    def note(self, text: str) -> None:
        self._add(Direction.NOTE, text)

    def record_command(self, *words: bytes) -> None:
        """A command of aiosmtplib's. Of AUTH, and of what follows it, only the mechanism is kept."""
        if words[0] == b"AUTH":
            words = (*words[:2], _CREDENTIALS.encode()) if len(words) > 2 else words
        elif words[0] not in _CLEAR_COMMANDS:
            words = (_CREDENTIALS.encode(),)
        self._add(Direction.SENT, b" ".join(words).decode("utf-8", "surrogateescape"))

    def record_reply(self, code: int, text: str) -> None:
        lines = [""] if code == 334 else text.split("\n")  # a challenge is half a secret
        for n, line in enumerate(lines):
            self._add(Direction.RECEIVED, f"{code}{' ' if n == len(lines) - 1 else '-'}{line}".rstrip())

    def to_text(self) -> str:
        return conversation.to_text(self.lines)

    def _add(self, direction: Direction, text: str) -> None:
        self.lines.append(ConversationLine(_to_ms(self._clock() - self.begun_s), direction, text))


class RecordedSmtp(aiosmtplib.SMTP):
    """aiosmtplib's client, which records commands and replies. STARTTLS and the greeting do not pass here."""

    record: HandshakeRecord

    async def execute_command(
        self,
        *args: bytes,
        timeout: float | Literal[Default.token] | None = Default.token,  # noqa: ASYNC109  aiosmtplib's
    ) -> aiosmtplib.SMTPResponse:
        self.record.record_command(*args)
        response = await super().execute_command(*args, timeout=timeout)
        self.record.record_reply(response.code, response.message)
        return response


def transaction_text(
    handshake: HandshakeRecord, items: Sequence[ExchangeItem], rcpt: int, reply: Reply, mails_before: int = 0
) -> str:
    """A transaction as its recipient's conversation, with the handshake before it. `rcpt`: which of the RCPT commands
    is the recipient's, from 0; -1 if none is. `reply` decided about the recipient."""
    lines = list(handshake.lines)
    if mails_before and items:
        earlier = "1 mail before" if mails_before == 1 else f"{mails_before} mails before"
        lines.append(ConversationLine(_to_ms(items[0][0] - handshake.begun_s), Direction.NOTE, f"{earlier} this one"))
    lines += _transaction_lines(handshake.begun_s, items, rcpt)
    at_ms = lines[-1].at_ms if lines else 0
    if not reply.code or rcpt < 0:  # there was none, or the upstream was not asked
        lines.append(ConversationLine(at_ms, Direction.NOTE, reply.text))
    elif not any(line.direction is Direction.RECEIVED and line.text.startswith(str(reply.code)) for line in lines):
        lines.append(ConversationLine(at_ms, Direction.RECEIVED, str(reply)))  # it answered another recipient's RCPT
    return conversation.to_text(lines)


def _transaction_lines(begun_s: float, items: Sequence[ExchangeItem], rcpt: int) -> Iterator[ConversationLine]:
    asked: list[int] = []  # by reply: the number of the RCPT that it answers, _SHARED for another command
    answered, rcpts, rest = 0, 0, b""
    others = sum(octets.count(_RCPT) for _, octets, kind in items if kind != RECEIVED) - (rcpt >= 0)
    for n, (at_s, octets, kind) in enumerate(items, 1):
        at_ms = _to_ms(at_s - begun_s)
        if kind != RECEIVED:
            for command in octets.splitlines():
                is_rcpt = command.startswith(_RCPT)
                asked.append(rcpts if is_rcpt else _SHARED)
                rcpts += is_rcpt
                if asked[-1] in (_SHARED, rcpt):
                    yield ConversationLine(at_ms, Direction.SENT, command.decode("utf-8", "replace"))
                elif others:
                    noun = "another recipient" if others == 1 else f"{others} other recipients"
                    yield ConversationLine(at_ms, Direction.NOTE, f"RCPT and its reply for {noun}")
                    others = 0
            if kind:
                asked.append(_SHARED)
                yield ConversationLine(at_ms, Direction.SENT, f"[the mail, {kind:,} octets, and the dot]")
            continue
        *lines, rest = (rest + octets).split(b"\n")
        for line in lines + ([rest] if rest and n == len(items) else []):
            if answered >= len(asked) or asked[answered] in (_SHARED, rcpt):
                words = line[: conversation.MAX_LINE].rstrip(b"\r").decode("utf-8", "replace")
                yield ConversationLine(at_ms, Direction.RECEIVED, words)
            answered += bool(_LAST_LINE.match(line))


def _to_ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))
