"""The SMTP listeners: sockets in, connections out, and an orderly end."""

import asyncio
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from relay.acceptor import Acceptor
from relay.config.schema import Config
from relay.edge import auth, tls
from relay.edge.commands import SmtpSession
from relay.edge.connection_limits import ConnectionLimits
from relay.edge.contexts import ListenerContext, ServerContext
from relay.edge.policy import Policy
from relay.edge.refusal_log import RefusalLog
from relay.envelope import AcceptMessage, Authenticate, CheckRecipient, ReturnPathHandler

_POLL_S = 0.05


class Edge:
    """The SMTP listeners of one process."""

    def __init__(
        self,
        config: Config,
        accept_message: AcceptMessage,
        check_recipient: CheckRecipient,
        authenticate: Authenticate | None = None,
        return_path: ReturnPathHandler | None = None,
    ) -> None:
        """`authenticate` checks clients' passwords; without it they are checked against `[[access.user]]`.
        `return_path` reads what comes to the return path; without it such mail is refused."""
        self.refusals = RefusalLog(lambda: datetime.now(UTC))
        self._context = ServerContext(
            hostname=config.relay.hostname,
            max_size=config.access.max_size,
            idle_s=config.access.idle_timeout.total_seconds(),
            policy=Policy(config),
            connection_limits=ConnectionLimits(config.access),
            accept_message=accept_message,
            check_recipient=check_recipient,
            authenticate=authenticate or auth.ConfiguredUsers(config.access.user).authenticate,
            password_guesses=auth.PasswordGuesses(),
            connections=set(),
            refusals=self.refusals,
            return_path=return_path,
        )
        self._listeners = [
            ListenerContext(listen, tls.Certificate(listen) if listen.tls != "off" else None)
            for listen in config.listen
        ]
        self._sockets: list[socket.socket] = []
        self._acceptors: list[Acceptor] = []

    def start(self, sockets: Sequence[socket.socket]) -> None:
        """Serves the sockets, one for each `[[listen]]`, in order. They are bound already; `drain` closes them."""
        self._sockets = list(sockets)
        for listener, listening in zip(self._listeners, sockets, strict=True):
            self._acceptors.append(Acceptor(listening, partial(SmtpSession, self._context, listener), max_per_turn=1))

    def reload_certificates(self) -> None:
        """Reads the certificates again. New connections get them; those that are open go on."""
        for listener in self._listeners:
            if listener.certificate:
                listener.certificate.reload()

    async def drain(self, limit_s: float) -> None:
        """Takes no new clients, lets transactions end, and closes what is left after that time."""
        for acceptor in self._acceptors:
            acceptor.close()
        for listening in self._sockets:
            listening.close()
        for connection in list(self._context.connections):
            connection.drain()
        end = asyncio.get_running_loop().time() + limit_s
        # Connections end by themselves, and nothing signals the last one.
        while self._context.connections and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)
        for connection in list(self._context.connections):
            if connection.transport is not None:
                connection.transport.close()
