"""One mail transaction over an open connection: MAIL, RCPT…, DATA, dot, a reply for each recipient.

RFC 5321 §3.3, §4.5.3.2 (timeouts), RFC 2920: where the server offers pipelining, all commands go out at once, and
the octets after one round trip. Replies are read in order; a reply that does not fit its command ends the connection.
"""

import contextlib
import re
from collections.abc import Iterator

from relay.bounce.classify import Phase
from relay.delivery.smtp import conversation_record, negotiation
from relay.delivery.smtp.attempt_result import AttemptResult
from relay.delivery.smtp.negotiation import OutgoingMail
from relay.delivery.smtp.protocol import ConnectionLostError, SmtpClientProtocol
from relay.reply import Reply

# RFC 5321 §4.5.3.2, in seconds.
MAIL_S, RCPT_S, DATA_S, BLOCK_S, DOT_S = 300.0, 300.0, 120.0, 180.0, 600.0
_BLOCK = 1 << 16
_LONE_DOT = b".\r\n"
_DOT_LINE = re.compile(rb"\n(?=\.)")  # nearly never there, and this look takes an eighth of the time of `replace`


class TransactionBrokenError(Exception):
    """The connection failed. `results` is what is known by then, one for each recipient."""

    def __init__(self, results: list[AttemptResult]) -> None:
        super().__init__(str(results[0].reply) if results else "")
        self.results = results

    @property
    def is_sent(self) -> bool:
        """True if the mail may have arrived: a second attempt could deliver it twice."""
        return any(result.uncertain for result in self.results)


async def send(client: SmtpClientProtocol, mail: OutgoingMail) -> list[AttemptResult]:
    """Sends a mail. Returns a result for each recipient, in their order.

    Raises TransactionBrokenError when the connection fails on the way; after the dot, the mail may have arrived.
    """
    prepared = await negotiation.prepare(client, mail)
    client.begin_exchange()
    transaction = _Transaction(client, prepared)
    try:
        if not all(transaction.results):
            await transaction.run()
    except ConnectionLostError as lost:
        client.abort()
        if not all(transaction.results):
            is_sent = transaction.is_sent
            after = " after the message was sent; it may have arrived" if is_sent else ""
            reply = Reply(0, "", f"{lost}{after}")
            results = transaction.complete_results(reply, uncertain=is_sent)
            raise TransactionBrokenError(transaction.with_conversations(results)) from lost
    return transaction.with_conversations(transaction.complete_results(Reply(0, "", "")))


class _Transaction:
    """One transaction. `results` has None for each recipient that nothing is decided about yet."""

    def __init__(self, client: SmtpClientProtocol, prepared: negotiation.PreparedMail) -> None:
        self.results = [reply and AttemptResult(Phase.MAIL, reply) for reply in prepared.refused]
        self.is_sent = False
        self._client = client
        self._octets = prepared.octets
        self._phase = Phase.MAIL
        self._mail = prepared.mail
        self._rcpts = [(n, rcpt) for n, rcpt in enumerate(prepared.rcpts) if self.results[n] is None]
        self._is_pipelined = client.is_pipelined

    def complete_results(self, reply: Reply, *, uncertain: bool = False) -> list[AttemptResult]:
        """The results, with this reply for the recipients that nothing is decided about."""
        return [result or AttemptResult(self._phase, reply, uncertain=uncertain) for result in self.results]

    def with_conversations(self, results: list[AttemptResult]) -> list[AttemptResult]:
        """The results, each that delivered nothing with the lines that concern its recipient."""
        if all(result.reply.accepts for result in results):
            return results
        numbers = {n: at for at, (n, _) in enumerate(self._rcpts)}
        return [
            result
            if result.reply.accepts
            else result._replace(conversation=self._conversation(result, numbers.get(n, -1)))
            for n, result in enumerate(results)
        ]

    def _conversation(self, result: AttemptResult, rcpt: int) -> str:
        client = self._client
        return conversation_record.transaction_text(
            client.handshake, client.exchange, rcpt, result.reply, mails_before=client.mails_begun - 1
        )

    async def run(self) -> None:
        """From MAIL to the reply to the dot. Raises Lost."""
        client = self._client
        if self._is_pipelined:
            reset = [b"RSET\r\n"] if client.needs_reset else []
            client.command(b"".join([*reset, self._mail, *(rcpt for _, rcpt in self._rcpts), b"DATA\r\n"]))
        if client.needs_reset and not (reply := await self._ask(b"RSET\r\n", MAIL_S)).accepts:
            raise ConnectionLostError(f"unexpected reply to RSET: {reply}")
        client.needs_reset = True  # until the transaction has come to its end
        reply = await self._ask(self._mail, MAIL_S)
        if reply.code >= 300:
            self._set_remaining(reply)
            if not self._is_pipelined or reply.closes_connection:
                return
        self._phase, has_accepted = Phase.RCPT, False
        for n, rcpt in self._rcpts:
            reply = await self._ask(rcpt, RCPT_S)
            if reply.code < 300:
                has_accepted = True
            else:
                self.results[n] = self.results[n] or AttemptResult(Phase.RCPT, reply)
                if reply.closes_connection:
                    self._set_remaining(reply)
                    return
        if all(self.results):
            if self._is_pipelined and has_accepted:
                client.abort()  # a recipient was accepted and MAIL was not: an empty message could reach somebody
            elif self._is_pipelined:
                await self._abandon_data()
            return
        self._phase = Phase.DATA
        reply = await self._ask(b"DATA\r\n", DATA_S, is_data=True)
        if reply.code == 354:
            await self._send_data()
        else:
            self._set_remaining(reply)

    async def _send_data(self) -> None:
        client = self._client
        if not client.is_idle:
            # The server replied before it got any data: an early refusal, or the replies are out of step.
            reply = await self._read(DATA_S)
            if not 400 <= reply.code < 600:
                raise _unexpected_reply(reply)
            self._set_remaining(reply)
            client.close()
            return
        # The end of what needs several writes goes out on its own: until then a lost connection has delivered nothing.
        last = b""
        if len(self._octets) <= _BLOCK:
            last = _dot_stuff_block(self._octets, is_line_start=True) + _end_of(self._octets)
        else:
            for block in _dot_stuffed(self._octets):
                if last:
                    await client.transfer(last, BLOCK_S)
                last = block
        client.write(last)
        client.record_mail(len(self._octets))
        self.is_sent = True
        self._phase = Phase.DOT
        self._set_remaining(await self._read(DOT_S))
        client.needs_reset = False

    async def _abandon_data(self) -> None:
        """DATA was sent ahead and no recipient was accepted: RFC 2920 §3.1."""
        if (await self._read(DATA_S, is_data=True)).code == 354:
            self._client.command(_LONE_DOT)
            await self._read(DOT_S)
            self._client.needs_reset = False

    async def _ask(self, command: bytes, timeout_s: float, *, is_data: bool = False) -> Reply:
        if not self._is_pipelined:
            self._client.command(command)
        return await self._read(timeout_s, is_data=is_data)

    async def _read(self, timeout_s: float, *, is_data: bool = False) -> Reply:
        """The next reply, if it is one that may stand there. A 354 to the dot, or a 250 to DATA, has no
        meaning to act on."""
        reply = self._client.next_reply() or await self._client.read(timeout_s)
        if not (400 <= reply.code < 600 or (reply.code == 354 if is_data else 200 <= reply.code < 300)):
            raise _unexpected_reply(reply)
        return reply

    def _set_remaining(self, reply: Reply) -> None:
        sends_dsn = self._client.has_dsn
        self.results = [
            result or AttemptResult(self._phase, reply, upstream_sends_dsn=sends_dsn) for result in self.results
        ]
        if reply.closes_connection:
            with contextlib.suppress(ConnectionLostError):
                self._client.quit()


def _unexpected_reply(reply: Reply) -> ConnectionLostError:
    return ConnectionLostError(f"unexpected reply: {reply}"[:500])


def _dot_stuffed(octets: bytes) -> Iterator[bytes]:
    """Dot-stuffed and ended (RFC 5321 §4.5.2), block by block: 25 MB at once would block the event loop.

    Lines end in CRLF already: the edge ensures it.
    """
    is_line_start = True
    for at in range(0, len(octets), _BLOCK):
        block = octets[at : at + _BLOCK]
        yield _dot_stuff_block(block, is_line_start=is_line_start)
        is_line_start = block.endswith(b"\n")
    yield _end_of(octets)


def _dot_stuff_block(block: bytes, *, is_line_start: bool) -> bytes:
    if b"." in block and _DOT_LINE.search(block):
        block = block.replace(b"\n.", b"\n..")
    return b"." + block if is_line_start and block.startswith(b".") else block


def _end_of(octets: bytes) -> bytes:
    """The line with the dot, on a line of its own."""
    return _LONE_DOT if not octets or octets.endswith(b"\n") else b"\r\n" + _LONE_DOT
