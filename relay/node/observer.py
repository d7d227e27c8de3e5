"""Metrics and alerts of a node, from one of its processes: `[metrics] listen` and `[alerts]`.

In: the node's counters and the store.  Out: `/metrics`, `/healthz` and `/readyz` on a listener of their own, and
alerts. The web role does this, or the first mail process where no web role runs.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence

from relay.config.schema import Config
from relay.node import descriptors
from relay.node.alert_sender import AlertSender
from relay.store.store import Store
from web import app
from web.server import protocol
from web.server.connections import WebConnections
from web.server.listener import Listener

_MAX_CONNECTIONS = 50


class Observer:
    """The observer of one node. It is made before the fork, and used in one process."""

    def __init__(self, config: Config, sockets: Sequence[socket.socket]) -> None:
        self._config = config
        self._sockets = sockets

    @contextlib.asynccontextmanager
    async def observe(self, store: Store) -> AsyncIterator[None]:
        """Observes until the block ends."""
        serving = [self._serve(one, store) for one in self._sockets]
        tasks = [asyncio.create_task(server.serve([listener])) for server, listener in serving]
        sender = AlertSender(self._config, store) if self._config.alerts.urls else None
        alerting = asyncio.create_task(sender.run()) if sender else None
        try:
            yield
        finally:
            if sender and alerting:
                alerting.cancel()
                await sender.release_chore()
            for server, _ in serving:
                server.should_exit = True
            await asyncio.gather(*tasks, return_exceptions=True)

    def _serve(self, one: socket.socket, store: Store) -> tuple[protocol.Server, Listener]:
        connections = WebConnections("metrics", [], lambda: _MAX_CONNECTIONS)
        made = app.make_metrics_app(self._config, store)
        server = protocol.Server(made, connections, accepts_per_turn=descriptors.ACCEPTS_PER_TURN)
        return server, Listener(one, connections.count_arrival)
