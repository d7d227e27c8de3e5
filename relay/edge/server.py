"""Listeners: sockets in, sessions out, and a polite end."""

import asyncio
import socket
from collections.abc import Sequence

from relay.config.schema import Config
from relay.edge import auth, tls
from relay.edge.commands import Session
from relay.edge.connection import Door, Gate
from relay.edge.connection_limits import Connections
from relay.edge.policy import Policy
from relay.envelope import AcceptMessage, Authenticate, CheckRecipient, ReturnPathHandler

_POLL_S = 0.05


class Edge:
    """The SMTP listeners of one process."""

    def __init__(
        self,
        config: Config,
        take: AcceptMessage,
        admit: CheckRecipient,
        log_in: Authenticate | None = None,
        reports: ReturnPathHandler | None = None,
    ) -> None:
        """`log_in` judges clients' passwords; without it the `[[access.user]]` tables do. `reports` reads what comes
        to the return path; without it nobody does."""
        self._door = Door(
            hostname=config.relay.hostname,
            max_size=config.access.max_size,
            idle_s=config.access.idle_timeout.total_seconds(),
            policy=Policy(config),
            connections=Connections(config.access),
            take=take,
            admit=admit,
            log_in=log_in or auth.Users(config.access.user).log_in,
            guesses=auth.Guesses(),
            sessions=set(),
            reports=reports,
        )
        self._gates = [
            Gate(listen, tls.Certificate(listen) if listen.tls != "off" else None) for listen in config.listen
        ]
        self._servers: list[asyncio.Server] = []

    async def start(self, sockets: Sequence[socket.socket], accept_a_turn: int = 64) -> None:
        """Serves the sockets, one for each `[[listen]]`, in order. They are bound already."""
        loop = asyncio.get_running_loop()
        for gate, listener in zip(self._gates, sockets, strict=True):

            def session(gate: Gate = gate) -> Session:
                return Session(self._door, gate)

            self._servers.append(await loop.create_server(session, sock=listener, backlog=accept_a_turn))

    def renew(self) -> None:
        """Reads the certificates again. New connections get them; those that are open go on."""
        for gate in self._gates:
            if gate.certificate:
                gate.certificate.renew()

    async def drain(self, at_most_s: float) -> None:
        """Takes no new clients, lets transactions end, and closes what is left after that time."""
        for server in self._servers:
            server.close()
        for session in list(self._door.sessions):
            session.drain()
        end = asyncio.get_running_loop().time() + at_most_s
        # Sessions end by themselves, and nobody signals the last one.
        while self._door.sessions and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)
        for session in list(self._door.sessions):
            if session.transport is not None:
                session.transport.close()
