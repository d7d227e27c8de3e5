"""Look for problems every half a minute, and alert the operator by apprise (an extra: waypost[alerts]).

In: the node's counters, the store's gauges, the disk.  Out: messages to `[alerts] urls`, and lines of the log. Of what
several nodes share, the node that has the chore alerts.
"""

import asyncio
import importlib
import logging
import os
import shutil
import socket
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa

from relay import alerts, metrics, process_log
from relay.alerts import AlertBook, NodeView, Notice, Problem, SharedView
from relay.config.schema import Config
from relay.delivery import queue_worker
from relay.node.data_directory import StartupError
from relay.store import chores, sent_alerts, upstream_states
from relay.store.database import errors
from relay.store.store import Store
from relay.store.views.gauges import GaugeReader, StoreGauges

_MAX_SEND_S = 30.0
_MISSED_TURNS = 3  # after so many another process has the chore
_MIN_LEASE = timedelta(seconds=15)  # a process that is only slow keeps it
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
    """The alerts of one node, and of all nodes while it has that chore."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._store = store
        self._worker = queue_worker.worker_name(store, os.getpid())
        self._every_s = config.alerts.every.total_seconds()
        self._gauges = GaugeReader(store, self._every_s / 2)
        self._node_book = AlertBook(config.alerts.repeat)
        self._shared_book: AlertBook | None = None  # while it has the chore
        self._is_saved = True  # what the database has of alerts that were sent

    async def run(self) -> None:
        """Never returns."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_chore())
            while True:
                await asyncio.sleep(self._every_s)
                try:
                    await self._check_problems()
                except Exception as error:  # noqa: BLE001  the outermost loop
                    errors.log_failure(error, "alerts")

    async def _keep_chore(self) -> None:
        """Takes the chore if nobody has it, and keeps it, however long a service takes to accept an alert."""
        while True:
            await self._take_chore()
            await asyncio.sleep(self._every_s)

    async def release_chore(self) -> None:
        """This process ends: another one may have the chore at once."""
        if self._shared_book is not None:
            await self._write(partial(chores.release_chores, worker=self._worker))

    async def _check_problems(self) -> None:
        wanted = self._config.alerts
        found = await self._gauges.read()
        node = NodeView(found is None, shutil.disk_usage(self._config.relay.data_dir).free)
        await self._alert(self._node_book, alerts.find_node_problems(node, wanted.min_disk_free))
        if (book := self._shared_book) is None:
            return
        if found is None:  # the node that had the chore goes on with what it has found itself
            shared = SharedView(_own_upstreams_down(), timedelta(0), [])
            problems = alerts.find_shared_problems(shared, wanted.queue_age)
            is_changed = await self._alert(book, problems, alerts.is_of_upstream)
        else:
            shared = await self._read_shared_view(found)
            is_changed = await self._alert(book, alerts.find_shared_problems(shared, wanted.queue_age))
        if is_changed or not self._is_saved:
            self._is_saved = await self._write(partial(sent_alerts.replace_alerts, alerts=dict(book.sent)))

    async def _take_chore(self) -> None:
        """Finds out whether this process alerts of what all nodes share."""
        lasts = max(_MISSED_TURNS * self._config.alerts.every, _MIN_LEASE)
        take = partial(chores.take_chore, name=chores.ALERTS, worker=self._worker, duration=lasts, may_extend=True)
        try:
            if not await self._store.writer.write_with_timeout(partial(take, now=datetime.now(UTC))):
                self._shared_book = None
            elif self._shared_book is None:
                sent = await self._store.read_in_time(sent_alerts.read_alerts)
                self._shared_book, self._is_saved = AlertBook(self._config.alerts.repeat, sent), True
        except Exception as error:  # noqa: BLE001  as in the outermost loop: whoever has the chore goes on
            errors.log_failure(error, "alerts")

    async def _write(self, work: Callable[[sa.Connection], None]) -> bool:
        """False if the database did not take it."""
        try:
            await self._store.writer.write_with_timeout(work)
        except (sa.exc.SQLAlchemyError, OSError) as error:
            errors.log_failure(error, "alerts")
            return False
        return True

    async def _read_shared_view(self, store_gauges: StoreGauges) -> SharedView:
        now = datetime.now(UTC)
        states = await self._store.read_in_time(partial(upstream_states.read_states, now=now))
        return SharedView(
            upstreams_down=[one.name for one in states.values() if one.workers_down],
            untried_for=now - store_gauges.oldest_untried if store_gauges.oldest_untried else timedelta(0),
            webhooks_disabled=[one.id for one in store_gauges.webhooks if one.state == "disabled"],
        )

    async def _alert(
        self, book: AlertBook, problems: Mapping[str, Problem], was_looked_for: Callable[[str], bool] = lambda key: True
    ) -> bool:
        """Sends the notices that are due. False if there were none."""
        is_changed = False
        for notice in book.find_due(problems, datetime.now(UTC), was_looked_for):
            if await self._send_notice(notice):
                book.mark_sent(notice, datetime.now(UTC))
                process_log.alert_sent(notice.key, notice.state)
                is_changed = True
        return is_changed

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


def _own_upstreams_down() -> list[str]:
    """The upstreams that are down for a mail process of this node."""
    counters = metrics.read_node().items()
    return [key.labels[0] for key, values in counters if key.name == metrics.UPSTREAM_DOWN.name and values[0]]


def compose_message(title: str, text: str) -> tuple[str, str]:
    """Title and text of a message from this machine."""
    return f"Waypost on {socket.gethostname()}: {title}", text
