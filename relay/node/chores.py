"""What every role does now and then: replay the journal, and let expired data go."""

import asyncio
from datetime import UTC, datetime, timedelta

from relay import log
from relay.config.schema import Config
from relay.store import retention, webhooks
from relay.store.store import Store

REPLAY_EVERY_S = 2.0
RETENTION_EVERY_S = 3600.0
FORGET_EVERY_S = 2.0


async def replay_once(store: Store) -> None:
    """Commits journaled facts if the database takes them now."""
    try:
        if store.journal.waits:
            await store.replay()
    except Exception as error:  # noqa: BLE001  the outermost frame: the next round may go better
        log.replay_failed(type(error).__name__)


async def replay(store: Store) -> None:
    """Commits journaled facts as soon as the database takes them. Never returns."""
    while True:
        await replay_once(store)
        await asyncio.sleep(REPLAY_EVERY_S)


async def retain(store: Store, config: Config) -> None:
    """Deletes what `[privacy]` keeps no longer. Never returns."""
    while True:
        now = datetime.now(UTC)
        try:
            await _drop(store, now, config.privacy.keep_content, config.privacy.keep_events)
            await _sweep(store, now - config.privacy.keep_events - config.delivery.expire_after)
        except Exception as error:  # noqa: BLE001  the outermost loop
            log.unreadable(type(error).__name__)
        await asyncio.sleep(RETENTION_EVERY_S)


async def _sweep(store: Store, before: datetime) -> None:
    """Lets stored destinations go: a mail may have waited for `expire_after` before its events began."""
    gone = await asyncio.to_thread(store.destinations.sweep, before)
    while count := await store.write(lambda session: retention.drop_destinations(session, before)):
        gone += count
    if gone:
        log.expired("destinations", gone)


async def forget(store: Store) -> None:
    """Where no address outlives its delivery: clears what SQLite's write-ahead log still has of them. Never returns."""
    while True:
        await asyncio.sleep(FORGET_EVERY_S)
        if store.people.are_veiled:
            try:
                await asyncio.to_thread(store.checkpoint)
            except Exception as error:  # noqa: BLE001  the outermost loop
                log.unreadable(type(error).__name__)


async def _drop(store: Store, now: datetime, keep_content: timedelta, keep_events: timedelta) -> None:
    for drop, keep in (
        (retention.drop_content, keep_content),
        (retention.drop_messages, keep_events),
        (retention.drop_suppressions, timedelta(0)),
        (retention.drop_strikes, keep_events),
        (retention.drop_pixel_hits, keep_events),
        (retention.drop_heard, keep_events),
        (webhooks.trim, keep_content),
    ):
        before = now - keep
        gone = 0
        while count := await store.write(lambda session, drop=drop, before=before: drop(session, before)):  # type: ignore[misc]
            gone += count
        if gone:
            while await store.write(retention.give_back):
                pass
            log.expired(drop.__name__.removeprefix("drop_"), gone)
