"""A site's listening socket. If a network connects too often, the socket closes the connection at once.

A connection that the event loop accepts costs ten times as much. Other clients, which stand in the socket's queue
behind a thousand of them, would wait ten times as long.
"""

import socket
from collections.abc import Callable

_MAX_CLOSED = 64  # connections at a time; then the event loop goes on


class Listener(socket.socket):
    """Replaces a listening socket, whose object cannot be used any more."""

    def __init__(self, listener: socket.socket, count_arrival: Callable[[str], bool]) -> None:
        super().__init__(listener.family, listener.type, listener.proto, fileno=listener.detach())
        self.setblocking(False)
        self._count_arrival = count_arrival

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        """The next connection that is not over the rate. Raises BlockingIOError if there is none."""
        for _ in range(_MAX_CLOSED):
            client, address = super().accept()
            if self._count_arrival(address[0]):
                return client, address
            client.close()
        raise BlockingIOError
