"""Listeners: sockets in, sessions out, and a polite end."""

import asyncio
import socket
import ssl
from collections.abc import Sequence

from relay.config.schema import Config, Listen
from relay.edge.dialogue import Door
from relay.edge.policy import Policy
from relay.edge.session import Session
from relay.envelope import Admit, Take

_POLL_S = 0.05


class Edge:
    """The SMTP listeners of one process."""

    def __init__(self, config: Config, take: Take, admit: Admit) -> None:
        self._config = config
        self._door = Door(config.relay.hostname, config.access.max_size, Policy(config), take, admit, set())
        self._servers: list[asyncio.Server] = []

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Serves the sockets, one for each `[[listen]]`, in order. They are bound already."""
        loop = asyncio.get_running_loop()
        for listen, listener in zip(self._config.listen, sockets, strict=True):
            tls = server_context(listen)
            implicit = listen.tls == "implicit"

            def session(tls: ssl.SSLContext | None = tls, implicit: bool = implicit) -> Session:
                return Session(self._door, tls, implicit_tls=implicit)

            self._servers.append(
                await loop.create_server(session, sock=listener, ssl=tls if implicit else None, backlog=1024)
            )

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


def server_context(listen: Listen) -> ssl.SSLContext | None:
    """The listener's TLS. Raises OSError, ssl.SSLError for files that cannot be used."""
    if listen.tls == "off" or listen.certificate is None or listen.key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(listen.certificate, listen.key)
    return context
