"""Connections are taken in turns of the event loop, so that the processes that share a socket share its connections."""

import asyncio
import contextlib
import socket

import pytest

from relay.acceptor import Acceptor


class _CountingListener(socket.socket):
    """Notes in which turn of the event loop each connection is taken."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.bind(("127.0.0.1", 0))
        self.listen(count)
        self.turn = 0
        self.turns: list[int] = []

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        taken = super().accept()
        self.turns.append(self.turn)
        return taken


class _Closing(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
        closed.append(transport)


closed: list[asyncio.BaseTransport] = []


@pytest.mark.parametrize(("a_turn", "turns"), [(1, 6), (2, 3), (16, 1)])
def test_no_more_connections_are_taken_in_a_turn_than_allowed(a_turn: int, turns: int) -> None:
    closed.clear()

    async def run() -> None:
        loop = asyncio.get_running_loop()

        def count_turn() -> None:
            listener.turn += 1
            loop.call_soon(count_turn)

        count_turn()
        acceptor = Acceptor(listener, _Closing, a_turn)
        async with asyncio.timeout(60):
            while len(closed) < len(clients):
                await asyncio.sleep(0)
        acceptor.close()

    with _CountingListener(6) as listener, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(listener.getsockname())) for _ in range(6)]
        asyncio.run(run())
        assert len(set(listener.turns)) == turns
