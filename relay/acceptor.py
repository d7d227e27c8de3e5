"""Takes connections from a listening socket, at most so many in a turn of the event loop.

libuv takes all that wait at once. So one of the processes that share a socket got all ten connections that an
application opened together, and two processes sent no more mail than one. And it calls the system's accept, not the
listener's own.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable

_OUT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PAUSE_S = 1.0  # without room for another connection, as asyncio has it


class Acceptor:
    """Gives each connection of a listening socket a protocol.

    At most `max_per_turn` of them in a turn of the event loop. `close` leaves the socket open.
    """

    def __init__(
        self, listener: socket.socket, make_protocol: Callable[[], asyncio.Protocol], max_per_turn: int
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._make_protocol = make_protocol
        self._max_per_turn = max_per_turn
        self._connecting: set[asyncio.Task[None]] = set()
        self._is_closed = False
        listener.setblocking(False)
        self._resume()

    def _resume(self) -> None:
        if not self._is_closed:
            self._loop.add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(self._max_per_turn):
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
