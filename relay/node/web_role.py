"""The web role: the public tracking site, the console, and the webhooks' requests, in one process."""

import asyncio
import socket
import sys
from collections.abc import Sequence

import anyio._backends._asyncio  # noqa: F401  Starlette loads it when it is first needed, in each process
import uvicorn.lifespan.on  # noqa: F401  and uvicorn this one

from relay.config.schema import Config
from relay.delivery.webhooks.sender import WebhookSender
from relay.node import data_directory, descriptors, maintenance
from relay.node.observer import Observer
from relay.store.database import notifications
from web import app
from web.server import protocol
from web.server.connections import WebConnections
from web.server.listener import Listener

_MAX_TRACKING, _MAX_CONSOLE = 2000, 500  # connections; each may hold 64 KB that nobody has read yet
_SWITCH_S = 0.0005  # a redirect does not wait 5 ms for each turn while hits are written down on another thread


async def serve(
    config: Config, sockets: Sequence[socket.socket], ready: asyncio.Event, stop: asyncio.Event, observer: Observer
) -> None:
    """Serves tracking on the first socket and the console on the second until `stop`."""
    sys.setswitchinterval(_SWITCH_S)
    descriptors.report_shortage(asyncio.get_running_loop())
    store = data_directory.open_store(config)
    ring = data_directory.open_key_ring(config)
    trusted = config.tracking.trusted_proxies
    sites = [WebConnections("tracking", trusted, _max_tracking), WebConnections("console", trusted, _max_console)]
    apps = [app.make_tracking_app(config, store, ring), app.make_console_app(config, store, ring)]
    servers = [
        protocol.Server(one, site, accepts_per_turn=descriptors.ACCEPTS_PER_TURN)
        for one, site in zip(apps, sites, strict=True)
    ]
    listeners = [Listener(listener, site.count_arrival) for listener, site in zip(sockets, sites, strict=True)]
    serving = [
        asyncio.create_task(server.serve([listener])) for server, listener in zip(servers, listeners, strict=True)
    ]
    # uvicorn signals nobody when it has started.
    while not all(server.started for server in servers) and not any(task.done() for task in serving):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    replaying = asyncio.create_task(maintenance.run_replay(store))
    folding = asyncio.create_task(maintenance.run_folding(store))
    analysis = asyncio.create_task(maintenance.run_analysis(store))
    hooks = WebhookSender(config, store, ring)
    store.listener.wakes[notifications.WEBHOOKS] = hooks.wake
    listening = asyncio.create_task(store.listener.run())
    telling = asyncio.create_task(hooks.run())
    async with observer.observe(store):
        ready.set()
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({stopping, *serving}, return_when=asyncio.FIRST_COMPLETED)
    for server in servers:
        server.should_exit = True
    await asyncio.gather(*serving, hooks.drain(protocol.DRAIN_S))
    ending = (replaying, folding, analysis, stopping, listening, telling)
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)
    await asyncio.to_thread(store.close)


def _max_tracking() -> int:
    return min(_MAX_TRACKING, descriptors.room_for_clients() * 3 // 4)


def _max_console() -> int:
    return min(_MAX_CONSOLE, descriptors.room_for_clients() // 4)
