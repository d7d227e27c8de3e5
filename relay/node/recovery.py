"""Recover what dead mail processes left: outcomes in the journal, and leases."""

import asyncio
import functools
from collections.abc import Sequence

import sqlalchemy as sa

from relay import log
from relay.config.schema import Config
from relay.delivery import queue_worker
from relay.node import data_directory
from relay.store import chores
from relay.store.database import errors
from relay.store.queue import leases
from relay.store.store import Store


def own_workers(config: Config, store: Store) -> str | None:
    """How the names of the leases' holders begin that are dead when this node starts: on a database of our own all."""
    return store.node_name if config.database.url.get_secret_value() else None


def recover_dead_workers(config: Config, dead_pids: Sequence[int] | None) -> None:
    """Records the outcomes in the journal, then releases the leases of these processes (None: of all of this node).

    In that order, or delivered mail would be sent again. Without the database the leases lapse by themselves.
    The death of one worker counts against the deliveries that it was attempting; the death of all does not.
    """
    store = data_directory.open_store(config)
    try:
        asyncio.run(store.replay_journal())
        if dead_pids is None:
            whose = own_workers(config, store)
            store.writer.submit(lambda connection: leases.release_leases(connection, whose)).result()
            store.writer.submit(lambda connection: chores.release_chores(connection, whose)).result()
        for pid in dead_pids or ():
            release = functools.partial(leases.release_after_crash, worker=queue_worker.worker_name(store, pid))
            # Inline mail does not wait for a database that does not answer: these leases lapse.
            for message, number in asyncio.run(store.writer.write_with_timeout(release)):
                log.delivery_parked(message, number, leases.MAX_CRASHES)
    except (sa.exc.SQLAlchemyError, OSError) as error:
        errors.log_failure(error, "leases")
    finally:
        store.close()
