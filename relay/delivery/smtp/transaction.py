"""One mail transaction over an open connection: MAIL, RCPT…, DATA, dot, a reply for each recipient.

RFC 5321 §3.3, §4.5.3.2 (timeouts), RFC 2920: where the server offers it, all commands go out at once, and the
octets after one round trip. Replies are read in order; what stands in the wrong place ends the connection.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from relay.bounce.classify import Phase
from relay.delivery.smtp import negotiation
from relay.delivery.smtp.negotiation import Outgoing
from relay.delivery.smtp.protocol import Lost, Wire
from relay.reply import Reply

# RFC 5321 §4.5.3.2, in seconds.
MAIL_S, RCPT_S, DATA_S, BLOCK_S, DOT_S = 300.0, 300.0, 120.0, 180.0, 600.0
_BLOCK = 1 << 16
_LONE_DOT = b".\r\n"
_CLOSING = 421  # RFC 5321 §3.8


class Said(NamedTuple):
    """In which phase a recipient's fate was sealed, and by which reply."""

    phase: Phase
    reply: Reply
    uncertain: bool = False  # all was sent and no reply came: it may have arrived
    tells: bool = False  # the server offers DSN: what is asked for of success is its to say


class Broken(Exception):
    """The connection failed. `said` is what is known by then, one for each recipient."""

    def __init__(self, said: list[Said]) -> None:
        super().__init__(str(said[0].reply) if said else "")
        self.said = said

    @property
    def is_sent(self) -> bool:
        """True if the mail may have arrived: trying again could make a second one."""
        return any(one.uncertain for one in self.said)


async def send(wire: Wire, mail: Outgoing) -> list[Said]:
    """Hands a mail over. Returns what was said of each recipient, in their order.

    Raises Broken when the connection fails on the way; after the dot, the mail may have arrived all the same.
    """
    fitted = await negotiation.fit(wire, mail)
    course = _Course(wire, fitted)
    try:
        if not all(course.said):
            await course.run()
    except Lost as lost:
        wire.abort()
        if not all(course.said):
            after = " after the message was sent; it may have arrived" if course.is_sent else ""
            raise Broken(course.rest(Reply(0, "", f"{lost}{after}"), uncertain=course.is_sent)) from lost
    return course.rest(Reply(0, "", ""))


class _Course:
    """A transaction on its way."""

    def __init__(self, wire: Wire, fitted: negotiation.Fitted) -> None:
        self.said = [reply and Said(Phase.MAIL, reply) for reply in fitted.refused]
        self.is_sent = False
        self._wire = wire
        self._octets = fitted.octets
        self._phase = Phase.MAIL
        self._mail = fitted.mail
        self._rcpts = [(n, rcpt) for n, rcpt in enumerate(fitted.rcpts) if self.said[n] is None]
        self._is_pipelined = wire.offers("pipelining")

    def rest(self, reply: Reply, *, uncertain: bool = False) -> list[Said]:
        """What was said of each; of those that nothing was said of, this."""
        return [one or Said(self._phase, reply, uncertain) for one in self.said]

    async def run(self) -> None:
        """From MAIL to the reply to the dot. Raises Lost."""
        wire = self._wire
        if self._is_pipelined:
            reset = [b"RSET\r\n"] if wire.needs_reset else []
            wire.write(b"".join([*reset, self._mail, *(rcpt for _, rcpt in self._rcpts), b"DATA\r\n"]))
        if wire.needs_reset and not (reply := await self._ask(b"RSET\r\n", MAIL_S)).accepts:
            raise Lost(f"unexpected reply to RSET: {reply}")
        wire.needs_reset = True  # until the transaction has come to its end
        reply = await self._ask(self._mail, MAIL_S)
        if not reply.accepts:
            self._settle(reply)
            if not self._is_pipelined or reply.code == _CLOSING:
                return
        self._phase, has_accepted = Phase.RCPT, False
        for n, rcpt in self._rcpts:
            reply = await self._ask(rcpt, RCPT_S)
            has_accepted = has_accepted or reply.accepts
            if not reply.accepts:
                self.said[n] = self.said[n] or Said(Phase.RCPT, reply)
                if reply.code == _CLOSING:
                    self._settle(reply)
                    return
        if all(self.said):
            if self._is_pipelined and has_accepted:
                wire.abort()  # a recipient without a sender: what ended this DATA would reach somebody
            elif self._is_pipelined:
                await self._withdraw()
            return
        self._phase = Phase.DATA
        reply = await self._ask(b"DATA\r\n", DATA_S, _is_go_ahead)
        if reply.code == 354:
            await self._hand_over()
        else:
            self._settle(reply)

    async def _hand_over(self) -> None:
        wire = self._wire
        if not wire.is_quiet:
            # It speaks before it has heard anything: a refusal that could not wait, or the two have lost step.
            reply = await self._read(DATA_S, _is_refusal)
            self._settle(reply)
            wire.close()
            return
        # The end goes out on its own block: until then a lost connection has delivered nothing.
        last = b""
        for block in _stuffed(self._octets):
            if last:
                await wire.transfer(last, BLOCK_S)
            last = block
        wire.write(last)
        self.is_sent = True
        self._phase = Phase.DOT
        self._settle(await self._read(DOT_S, _is_final))
        wire.needs_reset = False

    async def _withdraw(self) -> None:
        """DATA went out ahead and there is nobody to send to: RFC 2920 §3.1."""
        if (await self._read(DATA_S, _is_go_ahead)).code == 354:
            self._wire.write(_LONE_DOT)
            await self._read(DOT_S, _is_final)
            self._wire.needs_reset = False

    async def _ask(self, command: bytes, timeout_s: float, fits: "_Fits | None" = None) -> Reply:
        if not self._is_pipelined:
            self._wire.write(command)
        return await self._read(timeout_s, fits or _is_final)

    async def _read(self, timeout_s: float, fits: "_Fits") -> Reply:
        """The next reply, if it is one that may stand there. A 354 to the dot, or a 250 to DATA, has no
        meaning to act on."""
        reply = await self._wire.read(timeout_s)
        if not fits(reply):
            raise Lost(f"unexpected reply: {reply}"[:500])
        return reply

    def _settle(self, reply: Reply) -> None:
        self.said = [one or Said(self._phase, reply, tells=self._wire.offers("dsn")) for one in self.said]
        if reply.code == _CLOSING:
            with contextlib.suppress(Lost):
                self._wire.say_goodbye()


_Fits = Callable[[Reply], bool]


def _is_refusal(reply: Reply) -> bool:
    return 400 <= reply.code < 600


def _is_final(reply: Reply) -> bool:
    return reply.accepts or _is_refusal(reply)


def _is_go_ahead(reply: Reply) -> bool:
    return reply.code == 354 or _is_refusal(reply)


def _stuffed(octets: bytes) -> Iterator[bytes]:
    """Dot-stuffed and ended (RFC 5321 §4.5.2), block by block: 25 MB at once would keep everybody waiting.

    Lines end in CRLF already: the edge saw to it.
    """
    is_line_start = True
    for at in range(0, len(octets), _BLOCK):
        block = octets[at : at + _BLOCK]
        dot = b"." if is_line_start and block.startswith(b".") else b""
        is_line_start = block.endswith(b"\n")
        yield dot + block.replace(b"\n.", b"\n..")
    yield _LONE_DOT if is_line_start else b"\r\n" + _LONE_DOT
