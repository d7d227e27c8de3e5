"""Look for problems of the node every half a minute, and alert the operator by apprise (an extra: waypost[alerts]).

In: the node's counters, the store's gauges, the disk.  Out: messages to `[alerts] urls`, and lines of the log.
"""

import asyncio
import importlib
import logging
import shutil
import socket
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from relay import alerts, log, metrics, process_log
from relay.alerts import AlertBook, NodeView, Notice
from relay.config.schema import Config
from relay.node.data_directory import StartupError
from relay.store.store import Store
from relay.store.views.gauges import GaugeReader

_MAX_SEND_S = 30.0
_TYPES = {"new": "failure", "lasts": "warning", "over": "success"}  # apprise's


def check_apprise(config: Config) -> None:
    """Raises StartupError if alerts are wanted and cannot be sent."""
    for url in config.alerts.urls:
        target(url.get_secret_value())


def target(url: str) -> Any:  # Any: apprise is not there for everybody
    """What apprise makes of a URL. Raises StartupError."""
    try:
        apprise = importlib.import_module("apprise")
    except ImportError:
        raise StartupError("[alerts] urls needs apprise: pip install 'waypost[alerts]'") from None
    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it would log the same again
    found = apprise.Apprise.instantiate(url)
    if found is None:
        kind = url.partition("://")[0][:20]
        raise StartupError(f"[alerts] urls: apprise does not know what to do with a URL of the kind {kind}://")
    return found


async def send(url: str, title: str, text: str, kind: str = "info") -> bool:
    """Sends a message. False if the service did not take it in time."""
    try:
        async with asyncio.timeout(_MAX_SEND_S):
            return bool(await asyncio.to_thread(target(url).notify, body=text, title=title, notify_type=kind))
    except Exception:  # noqa: BLE001  a hundred services, each with its own
        return False


class AlertSender:
    """The alerts of one node."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._every_s = config.alerts.every.total_seconds()
        self._gauges = GaugeReader(store, self._every_s / 2)
        self._book = AlertBook(config.alerts.repeat.total_seconds())

    async def run(self) -> None:
        """Never returns."""
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self._look()
            except Exception:  # noqa: BLE001  the outermost loop
                log.fault("alerts", "")

    async def _look(self) -> None:
        wanted = self._config.alerts
        problems = alerts.find_problems(await self._view(), wanted.queue_age, wanted.min_disk_free)
        for notice in self._book.find_due(problems, time.monotonic()):
            if await self._send_notice(notice):
                self._book.mark_sent(notice, time.monotonic())
                process_log.alert_sent(notice.key, notice.state)

    async def _view(self) -> NodeView:
        found = await self._gauges.read()
        down = [
            key.labels[0]
            for key, values in metrics.read_node().items()
            if key.name == metrics.UPSTREAM_DOWN.name and values[0]
        ]
        untried = found.oldest_untried if found else None
        return NodeView(
            upstreams_down=down,
            is_database_away=found is None,
            untried_for=datetime.now(UTC) - untried if untried else timedelta(0),
            webhooks_disabled=[one.id for one in found.webhooks if one.state == "disabled"] if found else [],
            disk_free_octets=shutil.disk_usage(self._config.relay.data_dir).free,
        )

    async def _send_notice(self, notice: Notice) -> bool:
        """Sends the notice to all services. True if one of them took it."""
        title, text = compose_message(*notice.problem)
        if notice.state == "over":
            title, text = compose_message(f"over: {notice.problem.title}", "This is over.")
        taken = False
        for url in (one.get_secret_value() for one in self._config.alerts.urls):
            if await send(url, title, text, _TYPES[notice.state]):
                taken = True
            else:
                process_log.alert_failed(notice.key, url.partition("://")[0][:20])
        return taken


def compose_message(title: str, text: str) -> tuple[str, str]:
    """Title and text of a message from this machine."""
    return f"Waypost on {socket.gethostname()}: {title}", text
