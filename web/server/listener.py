"""A site's listening socket. If a network connects too often, it closes the connection before the event loop sees it.

A connection that the event loop takes costs ten times as much. Other clients, which wait in the socket's queue behind a
thousand of them, would wait ten times as long.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable

_OUT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PAUSE_S = 1.0  # without room for another connection, as asyncio has it
_MAX_CLOSED = 64  # at a time; then the event loop goes on


class Listener(socket.socket):
    """Replaces a listening socket, whose object cannot be used any more."""

    def __init__(self, listener: socket.socket, may_come: Callable[[str], bool]) -> None:
        super().__init__(listener.family, listener.type, listener.proto, fileno=listener.detach())
        self.setblocking(False)
        self._count_arrival = may_come

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        """The next connection that is not over the rate. Raises BlockingIOError if there is none."""
        for _ in range(_MAX_CLOSED):
            client, address = super().accept()
            if self._count_arrival(address[0]):
                return client, address
            client.close()
        raise BlockingIOError


class Acceptor:
    """Takes connections from a listener, at most so many in a turn of the event loop.

    asyncio's own would do, but uvloop's calls the system's accept, and not the listener's.
    """

    def __init__(self, listener: socket.socket, make_protocol: Callable[[], asyncio.Protocol], a_turn: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._make_protocol = make_protocol
        self._a_turn = a_turn
        self._connecting: set[asyncio.Task[None]] = set()
        self._is_closed = False
        listener.setblocking(False)
        listener.listen(a_turn)
        self._resume()

    def _resume(self) -> None:
        if not self._is_closed:
            self._loop.add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(self._a_turn):
            try:
                client, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _OUT:
                    raise
                self._loop.call_exception_handler({"message": "no room for a connection", "exception": error})
                self._loop.remove_reader(self._listener.fileno())
                self._loop.call_later(_PAUSE_S, self._resume)
                return
            client.setblocking(False)
            task = self._loop.create_task(self._connect(client))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self, client: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make_protocol, client)
        except OSError:  # it has gone already
            with contextlib.suppress(OSError):
                client.close()

    def close(self) -> None:
        """Takes no more connections. The socket stays open."""
        if not self._is_closed:
            self._is_closed = True
            self._loop.remove_reader(self._listener.fileno())

    async def wait_closed(self) -> None:
        """What uvicorn waits for: nothing."""
