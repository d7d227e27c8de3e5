"""Send events to webhooks: at least once each, in order for each message, several messages at a time.

In: the webhook queue.  Out: requests; their results are recorded in one commit with the rest of the queue. Endpoints do
not affect each other: each has its own limit, and one that fails gets a request at a time until it accepts one.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from relay import backoff, ids, log, metrics, timed_wait, webhook_signatures
from relay.config.schema import Config
from relay.config.webhook import WebhookConfig
from relay.delivery import queue_worker
from relay.delivery.webhooks import payload
from relay.delivery.webhooks.payload import Endpoint, WebhookRequest
from relay.delivery.webhooks.request import WebhookResponse, next_attempt, requested_wait
from relay.store.database import errors
from relay.store.database.webhook_tables import WebhookLogRow, WebhookQueueRow, WebhookRow
from relay.store.store import Store
from relay.store.views import webhook_event
from relay.store.webhooks import endpoints as webhooks
from relay.store.webhooks import webhook_queue
from relay.tokens import KeyRing

if TYPE_CHECKING:
    from relay.delivery.webhooks.client import WebhookClient

_LEASE = timedelta(minutes=2)  # longer than any request lasts
_POLL_S = 0.5
_MAX_IN_FLIGHT = 16  # requests to an endpoint at a time
_MAX_PAUSE = timedelta(minutes=1)
_MAX_LOGGED_REQUEST = 16 << 10  # characters


def make_endpoint(
    row: WebhookRow, configured: Mapping[str, WebhookConfig], ring: KeyRing, now: datetime
) -> Endpoint | None:
    """A webhook with its secrets; None for one of a configuration that is not ours."""
    settings = configured.get(row.id)
    if settings is None and row.source == webhooks.CONFIG:
        return None
    if settings is None:
        old = row.old_secret if row.old_until and row.old_until > now else ""
        settings = WebhookConfig.model_construct(url=row.url)
        secrets = (row.secret, old)
    else:
        secrets = (settings.secret.get_secret_value(), settings.old_secret.get_secret_value())
    return Endpoint(
        row.id,
        settings.url,
        row.format,
        row.machines,
        tuple(filter(None, secrets)),
        ring.derive_secret(webhook_signatures.key_purpose(row.id)),
        tuple(settings.retry),
        settings.timeout,
        row.source != webhooks.DATABASE,
    )


class WebhookSender:
    """Works on the webhook queue for one process. Several may run at once, on several machines."""

    def __init__(
        self,
        config: Config,
        store: Store,
        ring: KeyRing,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.name = queue_worker.worker_name(store, os.getpid()) + ids.new()
        self._config_by_id = {webhooks.configured_id(one): one for one in config.webhook}
        self._store = store
        self._ring = ring
        self._now = now
        self._jitter = jitter
        self._networks = config.webhook_networks
        self._client: WebhookClient | None = None
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._failures: Counter[str] = Counter()  # of an endpoint, since it last accepted a request
        self._not_before: dict[str, datetime] = {}
        self._wake_event = asyncio.Event()
        self._is_stopping = False
        self._is_idle = asyncio.Event()  # `run` starts nothing
        self._is_idle.set()

    async def run(self) -> None:
        """Works until `drain`."""
        self._is_idle.clear()
        while not self._is_stopping:
            try:
                await self.send_all_due()
            except Exception as error:  # noqa: BLE001  the outermost loop: what is due stays due
                errors.log_failure(error, "webhooks")
            await self._wait_for_change(await self._store.poll_s(_POLL_S, webhook_queue.has_waiting))
        self._is_idle.set()

    async def send_all_due(self) -> None:
        """Sends all that is due, and returns when nothing is due or under way."""
        while not self._is_stopping:
            self._wake_event.clear()
            if not await self._start_due_requests():
                # A request that has ended meanwhile may have made the next one due, after the queue was looked at.
                if not self._tasks and not self._wake_event.is_set():
                    return
                await self._wait_for_change()

    def wake(self) -> None:
        """Looks at the queue at once: a request is due."""
        self._wake_event.set()

    async def _wait_for_change(self, limit_s: float = _POLL_S) -> None:
        """Waits until a request has ended, or it is time to look at the queue again."""
        await timed_wait.wait_until_set(self._wake_event, limit_s)

    async def drain(self, limit_s: float) -> None:
        """Starts no more, waits for requests under way, and releases those that take longer."""
        self._is_stopping = True
        self._wake_event.set()
        # Requests that it was about to start count as under way; a database that hangs is not waited for.
        await timed_wait.wait_until_set(self._is_idle, limit_s)
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=limit_s)
        for task in set(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await self._store.writer.write_with_timeout(
                lambda connection: webhook_queue.release_requests(connection, self.name)
            )
        except Exception as error:  # noqa: BLE001  the outermost frame: the leases lapse
            errors.log_failure(error, "webhooks")
        if self._client is not None:
            await self._client.close()

    async def _start_due_requests(self) -> bool:
        """Leases what is due and starts to send it. False if nothing is due, or no request is free."""
        now = self._now()
        rows = await self._store.read(lambda connection: webhooks.list_webhooks(connection, only_on=True))
        endpoints = {one.id: one for row in rows if (one := self._endpoint(row, now))}
        room = {key: room for key in endpoints if (room := self._free_requests(key, now)) > 0}
        due = (
            await self._store.read(lambda connection: webhook_queue.find_due_webhooks(connection, list(room), now))
            if room
            else []
        )
        if not due or self._is_stopping:
            return False
        wanted = {key: room[key] for key in due}
        leased = await self._store.write(
            lambda connection: webhook_queue.lease_due_requests(connection, wanted, self.name, now, now + _LEASE)
        )
        for row in leased:
            task = asyncio.create_task(self._send(endpoints[row.webhook], row))
            self._tasks[task] = row.webhook
            task.add_done_callback(self._remove_task)
        return bool(leased)

    def _endpoint(self, row: WebhookRow, now: datetime) -> Endpoint | None:
        try:
            return make_endpoint(row, self._config_by_id, self._ring, now)
        except Exception:  # noqa: BLE001  of one webhook; the others must not be affected
            log.fault("webhook", row.id)
            return None

    def _free_requests(self, key: str, now: datetime) -> int:
        """How many requests to that endpoint may start now."""
        busy = sum(1 for other in self._tasks.values() if other == key)
        if not self._failures[key]:
            return _MAX_IN_FLIGHT - busy
        return 0 if busy or now < self._not_before[key] else 1

    def _remove_task(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        self._wake_event.set()

    async def _open_client(self) -> "WebhookClient":
        """Loads the client on a thread when the first request needs it: most web processes never send one."""
        client_class = await asyncio.to_thread(_load_client) if self._client is None else None
        if self._client is None and client_class is not None:  # another request may have made it meanwhile
            self._client = client_class(self._networks)
        assert self._client is not None
        return self._client

    async def _send(self, to: Endpoint, row: WebhookQueueRow) -> None:
        is_success = False
        try:
            event = await self._store.read(lambda connection: webhook_event.read_webhook_event(connection, row.event))
            request = payload.compose_request(to, event, int(self._now().timestamp())) if event else None
            if event is None or request is None:
                await self._store.write(lambda connection: webhook_queue.drop_request(connection, row))
                return
            client = await self._open_client()
            response = await client.send(to, request)
            is_success = response.is_success
            metrics.webhook_request(to.id, "accepted" if is_success else "refused" if response.code else "failed")
            entry = self._log_entry(to, row, event.type, request, response)
            reason = await self._store.write(
                lambda connection: webhook_queue.record_webhook_attempt(
                    connection, row, entry, is_success=response.is_success
                )
            )
            self._update_health(to, row, entry, response)
            if reason:
                log.webhook_disabled(to.id, reason)
        except Exception as error:  # noqa: BLE001  the outermost frame of a request
            errors.log_failure(error, "webhook", row.event)
            if not errors.is_database_fault(error):  # else the lease lapses, and it is sent again
                await self._put_off(to, row, is_success=is_success)

    async def _put_off(self, to: Endpoint, row: WebhookQueueRow, *, is_success: bool) -> None:
        """After a fault of ours: it is tried later and at last given up, so that the message's next events are sent."""
        now = self._now()
        again = (
            None if is_success else next_attempt(to.retry, row.attempts + 1, row.first_at or now, now, self._jitter())
        )
        try:
            if again is None:
                await self._store.write(lambda connection: webhook_queue.drop_request(connection, row))
            else:
                await self._store.write(lambda connection: webhook_queue.postpone_request(connection, row, now, again))
        except Exception as error:  # noqa: BLE001  the outermost frame: the lease lapses
            errors.log_failure(error, "webhook", row.event)
            return
        if again is None and not is_success:
            log.webhook_gave_up(to.id, row.event, "a fault of ours")

    def _log_entry(
        self, to: Endpoint, row: WebhookQueueRow, type_: str, request: WebhookRequest, response: WebhookResponse
    ) -> WebhookLogRow:
        """The entry for the webhook's log."""
        now, again = self._now(), None
        redacts = self._store.identity_policy.redacts  # without this the log would contain addresses
        if not response.is_success and not payload.is_permanent_refusal(to.format, response.code):
            wait, attempts = requested_wait(response, now), row.attempts + 1
            again = next_attempt(to.retry, attempts, row.first_at or now, now, self._jitter(), wait)
        return WebhookLogRow(
            id=ids.new(now),
            webhook=to.id,
            event=row.event,
            type=type_,
            message=row.message,
            at=now,
            attempt=row.attempts + 1,
            code=response.code,
            error=response.error,
            took_ms=response.took_ms,
            next_attempt_at=again,
            headers=request.headers,
            request="" if redacts else request.body.decode()[:_MAX_LOGGED_REQUEST],
            response="" if redacts else response.text,
        )

    def _update_health(
        self, to: Endpoint, row: WebhookQueueRow, entry: WebhookLogRow, response: WebhookResponse
    ) -> None:
        """Remembers whether the endpoint works, and logs a change."""
        if response.is_success:
            if self._failures.pop(to.id, 0):
                log.webhook_back(to.id)
            return
        if entry.next_attempt_at is None:
            log.webhook_gave_up(to.id, row.event, response.code or response.error)
        now, failures = entry.at, self._failures[to.id]
        if not failures:
            log.webhook_failing(to.id, row.event, response.code or response.error)
        elif now < self._not_before[to.id]:
            return  # it started before the pause
        pause = timedelta(seconds=backoff.double(1.0, failures - 1, _MAX_PAUSE.total_seconds()) if failures else 0)
        self._failures[to.id] += 1
        self._not_before[to.id] = now + max(pause, min(requested_wait(response, now), _MAX_PAUSE))


def _load_client() -> "type[WebhookClient]":
    from relay.delivery.webhooks.client import WebhookClient

    return WebhookClient
