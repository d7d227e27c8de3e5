"""What every role does now and then: replay the journal, and let expired data go."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

import sqlalchemy as sa

from relay import log
from relay.config.schema import Config
from relay.store import retention
from relay.store.database import errors
from relay.store.store import Store
from relay.store.webhooks import endpoints

REPLAY_EVERY_S = 2.0
RETENTION_EVERY_S = 3600.0
FORGET_EVERY_S = 2.0


async def replay_once(store: Store) -> None:
    """Commits journaled facts if the database takes them now."""
    try:
        if store.journal.has_pending:
            await store.replay_journal()
    except Exception as error:  # noqa: BLE001  the outermost frame: the next round may go better
        if errors.is_database_fault(error):
            log.replay_failed(errors.describe_error(error))
        else:
            log.fault("replay", "")


async def replay(store: Store) -> None:
    """Commits journaled facts as soon as the database takes them. Never returns."""
    while True:
        await replay_once(store)
        await asyncio.sleep(REPLAY_EVERY_S)


async def retain(store: Store, config: Config) -> None:
    """Deletes what `[privacy]` keeps no longer. Never returns."""
    while True:
        for what, work in _expiry(store, config, datetime.now(UTC)):
            try:
                if gone := await work():
                    log.expired(what, gone)
            except Exception as error:  # noqa: BLE001  the outermost loop: the others do not wait for this one
                errors.log_failure(error, "retention", what)
        await asyncio.sleep(RETENTION_EVERY_S)


def _expiry(store: Store, config: Config, now: datetime) -> Iterator[tuple[str, Callable[[], Awaitable[int]]]]:
    """What is dropped, by name, and the work, which returns how many there were."""
    keep_content, keep_events = config.privacy.keep_content, config.privacy.keep_events
    for drop, keep in (
        (retention.drop_content, keep_content),
        (retention.drop_messages, keep_events),
        (retention.drop_suppressions, timedelta(0)),
        (retention.drop_soft_failures, keep_events),
        (retention.drop_pixel_hits, keep_events),
        (retention.drop_processed_events, keep_events),
        (endpoints.delete_old_log, keep_content),
    ):
        yield drop.__name__.removeprefix("drop_"), partial(_drop, store, drop, now - keep)
    # A mail may have waited for `expire_after` before its events began.
    yield "destinations", partial(_sweep, store, now - keep_events - config.delivery.expire_after)


async def _drop(store: Store, drop: Callable[[sa.Connection, datetime], int], before: datetime) -> int:
    gone = 0
    while count := await store.write(lambda connection: drop(connection, before)):
        gone += count
    while gone and await store.write(retention.shrink_file):
        pass
    return gone


async def _sweep(store: Store, before: datetime) -> int:
    """Lets stored destinations go."""
    gone = await asyncio.to_thread(store.long_url_files.delete_older, before)
    while count := await store.write(lambda connection: retention.drop_long_urls(connection, before)):
        gone += count
    return gone


async def forget(store: Store) -> None:
    """Where no address outlives its delivery: clears what SQLite's write-ahead log still has of them. Never returns."""
    while True:
        await asyncio.sleep(FORGET_EVERY_S)
        if store.identity_policy.redacts:
            try:
                await asyncio.to_thread(store.checkpoint)
            except Exception as error:  # noqa: BLE001  the outermost loop
                errors.log_failure(error, "checkpoint")
