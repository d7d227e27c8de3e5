"""Events told to webhooks: at least once each, in order for each message, different messages beside each other.

In: what the outbox holds.  Out: requests, and what became of them, in one commit with what is still owed. Endpoints
share nothing: each has its own room, and one that fails is asked by one request at a time until it takes one.
"""

import asyncio
import contextlib
import os
import random
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from relay import ids, log, webhook_signatures
from relay.config.schema import Config
from relay.config.webhook import WebhookConfig as Configured
from relay.delivery import queue_worker
from relay.delivery.webhooks import payload as posts
from relay.delivery.webhooks.payload import Endpoint, Post
from relay.delivery.webhooks.request import Answer, Caller, asked_to_wait, next_attempt
from relay.store.database import errors
from relay.store.database.webhook_tables import WebhookLogRow, WebhookQueueRow, WebhookRow
from relay.store.store import Store
from relay.store.views import webhook_event
from relay.store.webhooks import endpoints as webhooks
from relay.store.webhooks import outbox
from relay.tokens import KeyRing

_LEASE = timedelta(minutes=2)  # longer than any request lasts
_POLL_S = 0.5
_IN_FLIGHT = 16  # requests to an endpoint at a time
_LONGEST_PAUSE = timedelta(minutes=1)
_REQUEST_KEPT = 16 << 10  # characters


def endpoint(row: WebhookRow, configured: Mapping[str, Configured], ring: KeyRing, now: datetime) -> Endpoint | None:
    """A webhook with its secrets; None for one of a configuration that is not ours."""
    said = configured.get(row.id)
    if said is None and row.source == "config":
        return None
    if said is None:
        old = row.old_secret if row.old_until and row.old_until > now else ""
        said = Configured.model_construct(url=row.url)
        secrets = (row.secret, old)
    else:
        secrets = (said.secret.get_secret_value(), said.old_secret.get_secret_value())
    return Endpoint(
        row.id,
        said.url,
        row.format,
        row.machines,
        tuple(filter(None, secrets)),
        ring.derive_secret(webhook_signatures.key_purpose(row.id)),
        tuple(said.retry),
        said.timeout,
        row.source != webhooks.DATABASE,
    )


class Webhooks:
    """One process's hands on the outbox. Several may run at once, on several machines."""

    def __init__(
        self,
        config: Config,
        store: Store,
        ring: KeyRing,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        jitter: Callable[[], float] = lambda: random.uniform(-1, 1),  # noqa: S311  no secret
    ) -> None:
        self.name = queue_worker.name(os.getpid()) + ids.new()
        self._configured = {webhooks.configured_id(one): one for one in config.webhook}
        self._store = store
        self._ring = ring
        self._now = now
        self._jitter = jitter
        self._caller = Caller(config.webhook_networks)
        self._under_way: dict[asyncio.Task[None], str] = {}
        self._failures: Counter[str] = Counter()  # of an endpoint, since it last took something
        self._not_before: dict[str, datetime] = {}
        self._woken = asyncio.Event()
        self._is_stopping = False
        self._rests = asyncio.Event()  # `run` begins nothing
        self._rests.set()

    async def run(self) -> None:
        """Works until `drain`."""
        self._rests.clear()
        while not self._is_stopping:
            self._woken.clear()
            try:
                has_begun = await self._begin()
            except Exception as error:  # noqa: BLE001  the outermost loop: what is owed stays owed
                errors.log_failure(error, "webhooks")
                has_begun = False
            if not has_begun:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), _POLL_S)
        self._rests.set()

    async def settle_all(self) -> None:
        """Tells all that is due now, and returns when nothing is left to begin or under way."""
        while await self._begin() or self._under_way:
            await asyncio.gather(*self._under_way)

    async def drain(self, at_most_s: float) -> None:
        """Begins no more, waits for requests under way, and gives back what lasts longer."""
        self._is_stopping = True
        self._woken.set()
        with contextlib.suppress(TimeoutError):  # a database that hangs is not waited for
            async with asyncio.timeout(at_most_s):
                await self._rests.wait()  # what it was about to begin counts as under way
        if self._under_way:
            await asyncio.wait(set(self._under_way), timeout=at_most_s)
        for task in set(self._under_way):
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        try:
            await self._store.writer.write_with_timeout(
                lambda connection: outbox.release_requests(connection, self.name)
            )
        except Exception as error:  # noqa: BLE001  the outermost frame: the leases lapse
            errors.log_failure(error, "webhooks")
        await self._caller.close()

    async def _begin(self) -> bool:
        """Leases what is due and begins to tell it. False if there is nothing, or no room."""
        now = self._now()
        rows = await self._store.read(lambda connection: webhooks.list_webhooks(connection, only_on=True))
        endpoints = {one.id: one for row in rows if (one := self._endpoint(row, now))}
        room = {key: room for key in endpoints if (room := self._room(key, now)) > 0}
        due = await self._store.read(lambda connection: outbox.with_due(connection, list(room), now)) if room else []
        if not due or self._is_stopping:
            return False
        wanted = {key: room[key] for key in due}
        leased = await self._store.write(
            lambda connection: outbox.lease_due_requests(connection, wanted, self.name, now, now + _LEASE)
        )
        for row in leased:
            task = asyncio.create_task(self._tell(endpoints[row.webhook], row))
            self._under_way[task] = row.webhook
            task.add_done_callback(self._done)
        return bool(leased)

    def _endpoint(self, row: WebhookRow, now: datetime) -> Endpoint | None:
        try:
            return endpoint(row, self._configured, self._ring, now)
        except Exception:  # noqa: BLE001  one webhook's; the others are told
            log.fault("webhook", row.id)
            return None

    def _room(self, key: str, now: datetime) -> int:
        """How many requests to that endpoint may begin now."""
        busy = sum(1 for other in self._under_way.values() if other == key)
        if not self._failures[key]:
            return _IN_FLIGHT - busy
        return 0 if busy or now < self._not_before[key] else 1

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        self._woken.set()

    async def _tell(self, to: Endpoint, row: WebhookQueueRow) -> None:
        is_taken = False
        try:
            occasion = await self._store.read(
                lambda connection: webhook_event.read_webhook_event(connection, row.event)
            )
            post = posts.compose(to, occasion, int(self._now().timestamp())) if occasion else None
            if occasion is None or post is None:
                await self._store.write(lambda connection: outbox.drop_request(connection, row))
                return
            answer = await self._caller.call(to, post)
            is_taken = answer.is_taken
            telling = self._telling(to, row, occasion.type, post, answer)
            reason = await self._store.write(
                lambda connection: outbox.record_attempt(connection, row, telling, took=answer.is_taken)
            )
            self._note(to, row, telling, answer)
            if reason:
                log.webhook_disabled(to.id, reason)
        except Exception as error:  # noqa: BLE001  the outermost loop of a telling
            errors.log_failure(error, "webhook", row.event)
            if not errors.is_database_fault(error):  # else the lease lapses, and it is told again
                await self._put_off(to, row, is_taken=is_taken)

    async def _put_off(self, to: Endpoint, row: WebhookQueueRow, *, is_taken: bool) -> None:
        """After a fault of ours: it is tried later and at last given up, so that its message's next events are told."""
        now = self._now()
        again = None if is_taken else next_attempt(to.retry, row.attempts + 1, row.first_at or now, now, self._jitter())
        try:
            if again is None:
                await self._store.write(lambda connection: outbox.drop_request(connection, row))
            else:
                await self._store.write(lambda connection: outbox.postpone_request(connection, row, now, again))
        except Exception as error:  # noqa: BLE001  the outermost frame: the lease lapses
            errors.log_failure(error, "webhook", row.event)
            return
        if again is None and not is_taken:
            log.webhook_gave_up(to.id, row.event, "a fault of ours")

    def _telling(self, to: Endpoint, row: WebhookQueueRow, type_: str, post: Post, answer: Answer) -> WebhookLogRow:
        """The log's entry."""
        now, again = self._now(), None
        is_veiled = (
            self._store.identity_policy.redacts
        )  # then a log would be one more place where people are written down
        if not answer.is_taken and not posts.is_refused(to.format, answer.code):
            wait, attempts = asked_to_wait(answer, now), row.attempts + 1
            again = next_attempt(to.retry, attempts, row.first_at or now, now, self._jitter(), wait)
        return WebhookLogRow(
            id=ids.new(now),
            webhook=to.id,
            event=row.event,
            type=type_,
            message=row.message,
            at=now,
            attempt=row.attempts + 1,
            code=answer.code,
            error=answer.error,
            took_ms=answer.took_ms,
            next_attempt_at=again,
            headers=post.headers,
            request="" if is_veiled else post.body.decode()[:_REQUEST_KEPT],
            response="" if is_veiled else answer.text,
        )

    def _note(self, to: Endpoint, row: WebhookQueueRow, telling: WebhookLogRow, answer: Answer) -> None:
        """Keeps in mind how the endpoint is, and says so when that changes."""
        if answer.is_taken:
            if self._failures.pop(to.id, 0):
                log.webhook_back(to.id)
            return
        if telling.next_attempt_at is None:
            log.webhook_gave_up(to.id, row.event, answer.code or answer.error)
        now, failures = telling.at, self._failures[to.id]
        if not failures:
            log.webhook_failing(to.id, row.event, answer.code or answer.error)
        elif now < self._not_before[to.id]:
            return  # it began before the pause did
        pause = min(timedelta(seconds=2.0 ** min(failures - 1, 10)), _LONGEST_PAUSE) if failures else timedelta(0)
        self._failures[to.id] += 1
        self._not_before[to.id] = now + max(pause, min(asked_to_wait(answer, now), _LONGEST_PAUSE))
