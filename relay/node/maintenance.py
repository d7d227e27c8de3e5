"""Periodic work of every role: replay the journal, and delete expired data."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import sqlalchemy as sa

from relay import log
from relay.config.schema import Config
from relay.store import chores, message_words, refusals, retention, upstream_states
from relay.store.database import errors, partitions, roll_ups
from relay.store.queue import content_files
from relay.store.refusals import Refusal
from relay.store.store import Store
from relay.store.upstream_states import ReportedState
from relay.store.webhooks import endpoints

Drop = Callable[..., int]  # of `retention`: with a connection, `before` and `share`; how many rows it deleted

REPLAY_EVERY_S = 2.0
RETENTION_EVERY = timedelta(hours=1)
LOOK_AT_RETENTION_EVERY_S = 60.0
_UNREFERENCED_FOR = timedelta(days=1)  # until a file of large octets is deleted
CHECKPOINT_EVERY_S = 2.0
ANALYSIS_EVERY_S, FIRST_ANALYSIS_AFTER_S = 86_400.0, 60.0
LOOK_AT_UPSTREAMS_EVERY_S = 1.0
READ_PEERS_EVERY_S = 3.0
REPORT_EVERY_S = upstream_states.MAX_SILENCE.total_seconds() / 3
REFUSALS_EVERY_S = 1.0
_STEP_S = 0.02  # of deletions: mail and hits that are to be stored wait for it, and in SQLite those of all processes
_FIRST_SHARE, _MIN_SHARE, _MAX_SHARE = 0.25, 0.01, 2.0
FOLD_EVERY_S = 10.0  # until then statistics read the changes one by one


async def replay_once(store: Store) -> None:
    """Commits journaled facts if the database takes them now."""
    try:
        if store.journal.has_pending:
            await store.replay_journal()
    except Exception as error:  # noqa: BLE001  the outermost frame: the next round may succeed
        if errors.is_database_fault(error):
            log.replay_failed(errors.describe_error(error))
        else:
            log.fault("replay", "")


async def run_replay(store: Store) -> None:
    """Commits journaled facts as soon as the database takes them. Never returns."""
    while True:
        await replay_once(store)
        await asyncio.sleep(REPLAY_EVERY_S)


async def run_upstream_reports(
    store: Store,
    worker: str,
    states: Callable[[], Sequence[ReportedState]],
    apply_peer_report: Callable[[str, int, Sequence[tuple[str, datetime]]], None],
) -> None:
    """Says of this process's upstreams what has changed, and now and then that nothing has. On a database of several
    nodes it also passes on what the others report: `apply_peer_report(name, processes, outages)`. Never returns."""
    read_peers_at_s = float("-inf")
    said: dict[str, tuple[datetime | None, str]] = {}
    said_at_s = float("-inf")
    while True:
        found = list(states())
        now = {one.name: (one.down_since, one.fault) for one in found}
        if now != said or time.monotonic() - said_at_s >= REPORT_EVERY_S:
            try:
                work = partial(upstream_states.report_states, worker=worker, states=found, now=datetime.now(UTC))
                await store.write(work)
                said, said_at_s = now, time.monotonic()
            except Exception as error:  # noqa: BLE001  the outermost loop: the next round may succeed
                errors.log_failure(error, "upstreams")
                said_at_s = time.monotonic()
        if store.is_shared and time.monotonic() - read_peers_at_s >= READ_PEERS_EVERY_S:
            read_peers_at_s = time.monotonic()
            try:
                peers = await store.read(partial(upstream_states.read_peers, worker=worker, now=datetime.now(UTC)))
                for name, peer in peers.items():
                    apply_peer_report(name, len(peer.workers), peer.outages)
            except Exception as error:  # noqa: BLE001  the outermost loop: the last shares stay
                errors.log_failure(error, "upstreams")
        await asyncio.sleep(LOOK_AT_UPSTREAMS_EVERY_S)


async def withdraw_upstream_reports(store: Store, worker: str) -> None:
    """This process ends: the others have its share of the rates."""
    try:
        await store.writer.write_with_timeout(
            partial(upstream_states.report_states, worker=worker, states=(), now=datetime.now(UTC))
        )
    except Exception as error:  # noqa: BLE001  the outermost frame: the report lapses
        errors.log_failure(error, "upstreams")


async def run_retention(store: Store, config: Config, worker: str) -> None:
    """Deletes data older than `[privacy]` keeps it, each hour: one of all processes deletes rows, and one of each
    machine its files. Never returns."""
    while True:
        now = datetime.now(UTC)
        if await _may_delete(store, chores.RETENTION, worker):
            await _change_months(store, now, now - config.privacy.keep_events)  # before rows are deleted one by one
            for what, work in _retention_work(store, config, now):
                await _delete(what, work)
            await _delete("pages", partial(_shrink_file, store))
        if await _may_delete(store, f"{chores.RETENTION} {store.node_name}", worker):
            await _delete("destination_files", partial(_delete_long_url_files, store, _long_urls_end(config, now)))
        await asyncio.sleep(LOOK_AT_RETENTION_EVERY_S)


async def _may_delete(store: Store, chore: str, worker: str) -> bool:
    """True if the chore is due, and nobody else does it."""
    now = datetime.now(UTC)
    try:
        if not await store.read(partial(chores.is_free, name=chore, now=now, duration=RETENTION_EVERY)):
            return False
        take = partial(chores.take_chore, name=chore, worker=worker, now=now, duration=RETENTION_EVERY)
        return await store.write(take)
    except Exception as error:  # noqa: BLE001  as in the outermost loop: the next round may succeed
        errors.log_failure(error, "retention", chore)
        return False


async def _change_months(store: Store, now: datetime, before: datetime) -> None:
    """Makes the partitions of the months that come, and drops those of which nothing is kept."""
    try:
        await asyncio.to_thread(make_months, store, now)
        drop = partial(partitions.drop_next_month, before=before)
        while dropped := await asyncio.to_thread(store.change_tables, drop):
            log.partition_dropped(dropped.name, dropped.rows)
        await asyncio.to_thread(store.change_tables, partial(partitions.analyze, now=now))
    except Exception as error:  # noqa: BLE001  the outermost loop: the next hour may succeed
        errors.log_failure(error, "months")


def make_months(store: Store, now: datetime) -> None:
    """Makes the partitions of the months that come. Raises sqlalchemy.exc.SQLAlchemyError."""
    for name in store.change_tables(partial(partitions.make_months, now=now)):
        log.partition_made(name)


async def _delete(name: str, work: Callable[[], Awaitable[int]]) -> None:
    try:
        if deleted := await work():
            log.data_deleted(name, deleted)
    except Exception as error:  # noqa: BLE001  the outermost loop: a failure must not stop the other deletions
        errors.log_failure(error, "retention", name)


def _retention_work(store: Store, config: Config, now: datetime) -> Iterator[tuple[str, Callable[[], Awaitable[int]]]]:
    """What is deleted of the database, by name, and the work, which returns how many rows it deleted."""
    keep_content, keep_events = config.privacy.keep_content, config.privacy.keep_events
    for drop, keep in (
        (retention.drop_content, keep_content),
        (retention.drop_messages, keep_events),
        (retention.drop_roll_ups, keep_events),
        (retention.drop_suppressions, timedelta(0)),
        (retention.drop_soft_failures, keep_events),
        (retention.drop_pixel_hits, keep_events),
        (refusals.drop_refusals, min(keep_events, refusals.MAX_AGE)),
        (retention.drop_processed_events, keep_events),
        (retention.drop_audit_entries, config.privacy.keep_audit),
        (endpoints.delete_old_log, keep_content),
    ):
        yield drop.__name__.removeprefix("drop_"), partial(drop_in_steps, store, drop, now - keep)
    yield "destinations", partial(drop_in_steps, store, retention.drop_long_urls, _long_urls_end(config, now))
    if not store.journal.has_mail:  # its messages have files, and no rows yet
        lost = partial(content_files.delete_unreferenced, before=now - _UNREFERENCED_FOR)
        yield "content_files", partial(store.read, lost)


async def drop_in_steps(store: Store, drop: Drop, before: datetime) -> int:
    """Deletes all that is older, each step as large as takes _STEP_S."""
    deleted, share = 0, _FIRST_SHARE
    while True:
        count, took_s = await _write_in_turn(store, partial(drop, before=before, share=share))
        if not count:
            return deleted
        deleted += count
        share = next_share(share, took_s)


def next_share(share: float, took_s: float) -> float:
    """How much of the limits the next step may have, after one that had so much and took so long."""
    factor = min(max(_STEP_S / max(took_s, 0.001), 0.25), 1.5)  # a single step may have been held up by something else
    return min(max(share * factor, _MIN_SHARE), _MAX_SHARE)


def _long_urls_end(config: Config, now: datetime) -> datetime:
    """Since when a long URL must have been used to be kept. A mail may have waited for `expire_after` before its events
    began."""
    return now - config.privacy.keep_events - config.delivery.expire_after


async def _delete_long_url_files(store: Store, before: datetime) -> int:
    return await asyncio.to_thread(store.long_url_files.delete_older, before)


async def _shrink_file(store: Store) -> int:
    """Gives free pages of SQLite's file back to the disk."""
    returned = 0
    while count := (await _write_in_turn(store, retention.shrink_file))[0]:
        returned += count
    return returned


async def _write_in_turn(store: Store, work: Callable[[sa.Connection], int]) -> tuple[int, float]:
    """Does one step of many, and then leaves the database to the other processes for as long as the step took. Returns
    the work's result, and how long it took in seconds, from its beginning until it was durable."""
    began_s = 0.0

    def timed(connection: sa.Connection) -> int:
        nonlocal began_s
        began_s = time.monotonic()
        return work(connection)

    count = await store.write(timed)
    took_s = time.monotonic() - began_s
    await asyncio.sleep(took_s)
    return count, took_s


async def run_refusal_log(store: Store, take_refusals: Callable[[], Sequence[Refusal]]) -> None:
    """Stores what clients were refused. What cannot be stored is not kept: the log has it. Never returns."""
    while True:
        await asyncio.sleep(REFUSALS_EVERY_S)
        try:
            if refused := take_refusals():
                await store.write(partial(refusals.insert_refusals, refusals=refused))
        except Exception as error:  # noqa: BLE001  the outermost loop
            errors.log_failure(error, "refusals")


async def run_analysis(store: Store) -> None:
    """Keeps the plans of queries right as the database grows. Never returns."""
    wait_s = FIRST_ANALYSIS_AFTER_S
    while True:
        await asyncio.sleep(wait_s)
        wait_s = ANALYSIS_EVERY_S
        try:
            await asyncio.to_thread(store.analyze)
        except Exception as error:  # noqa: BLE001  the outermost loop
            errors.log_failure(error, "analysis")


async def run_folding(store: Store) -> None:
    """Moves what commits have counted into the roll-ups, and stores the words of new messages. Never returns."""
    while True:
        await asyncio.sleep(FOLD_EVERY_S)
        try:
            if await store.read(roll_ups.has_changes):
                await store.write(roll_ups.fold, begins_commit=True)
            while await store.read(message_words.has_due) and (await store.write(message_words.store_due_words)) > 0:
                pass
        except Exception as error:  # noqa: BLE001  the outermost loop
            errors.log_failure(error, "roll-ups")


async def run_checkpoints(store: Store) -> None:
    """Clears addresses from SQLite's write-ahead log, in privacy modes that keep none. Never returns."""
    while True:
        await asyncio.sleep(CHECKPOINT_EVERY_S)
        if store.identity_policy.redacts:
            try:
                await asyncio.to_thread(store.checkpoint)
            except Exception as error:  # noqa: BLE001  the outermost loop
                errors.log_failure(error, "checkpoint")
