"""A site's listening socket, which closes what its network sends too fast before asyncio spends anything on it.

A connection that asyncio takes in costs ten times as much. Whoever waits in the socket's queue behind a thousand of
them would wait as long.
"""

import socket
from collections.abc import Callable

_MAX_CLOSED = 64  # at a time; then the loop has its turn


class Listener(socket.socket):
    """Takes the place of a socket that listens; that object is of no use then."""

    def __init__(self, listener: socket.socket, may_come: Callable[[str], bool]) -> None:
        super().__init__(listener.family, listener.type, listener.proto, fileno=listener.detach())
        self.setblocking(False)
        self._count_arrival = may_come

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        """The next connection that may come. Raises BlockingIOError if there is none."""
        for _ in range(_MAX_CLOSED):
            client, address = super().accept()
            if self._count_arrival(address[0]):
                return client, address
            client.close()
        raise BlockingIOError
