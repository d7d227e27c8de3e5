"""How long mail waits for its commit while retention deletes.

    python -m benchmarks.retention_waits FOLDER [--url postgresql+psycopg://…] [--seconds 20]

In: a folder that `benchmarks.full_store` filled; messages older than a day are deleted from it.  Out: the steps of the
deletion, and the waits of mail that this process and another one store meanwhile, a hundred a second each, in
milliseconds.
"""

import argparse
import asyncio
import multiprocessing
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from relay import ids
from relay.node import maintenance
from relay.store import retention
from relay.store.database import engine
from relay.store.database.rows import Delivery, Message
from relay.store.database.tables import Status
from relay.store.queue import deliveries
from relay.store.queue.queue_facts import NewMessage, Outcome
from relay.store.store import Store

_EVERY_S = 0.01
_LIMIT_S = 0.05
_BEGINS_AFTER_S = 2.0  # the other process has begun
_WARMS_UP_FOR_S = 1.0  # modules are loaded, statements compiled: not counted


def _new_message() -> NewMessage:
    now = datetime.now(UTC)
    message = Message(id=ids.new(now), accepted_at=now, expires_at=now + timedelta(days=5), plan="{}", size_octets=2000)
    row = Delivery(message=message.id, number=0, recipient="ann@example.com", status=Status.DELIVERED)
    return NewMessage(message, bytes(2000), [row], [Outcome(ids.new(now), 0, row.recipient, Status.DELIVERED, now)])


async def _store_mail(store: Store, until_s: float) -> list[float]:
    """How long each of them waited, in seconds."""
    waits: list[float] = []
    counted_from_s = time.monotonic() + _WARMS_UP_FOR_S

    async def store_one() -> None:
        one, began_s = _new_message(), time.monotonic()
        await store.write(partial(deliveries.insert_message, new=one))
        if began_s > counted_from_s:
            waits.append(time.monotonic() - began_s)

    async with asyncio.TaskGroup() as tasks:
        while time.monotonic() < until_s:
            tasks.create_task(store_one())
            await asyncio.sleep(_EVERY_S)
    return waits


def _store_elsewhere(url: str, folder: str, seconds: float) -> list[float]:
    store = Store(url, Path(folder))
    waits = asyncio.run(_store_mail(store, time.monotonic() + seconds))
    store.close()
    return waits


def _print_times(name: str, times_s: list[float]) -> None:
    ordered = sorted(times_s)
    shown = [ordered[min(int(len(ordered) * part), len(ordered) - 1)] * 1000 for part in (0.5, 0.95, 0.99, 1.0)]
    late = sum(one > _LIMIT_S for one in ordered)
    print(f"| {name} | {len(ordered)} | {' | '.join(f'{one:.0f}' for one in shown)} | {late} |")


async def measure(url: str, folder: Path, seconds: float) -> None:
    """Prints the table."""
    steps: list[float] = []
    deleted = 0

    def drop(connection: sa.Connection, before: datetime, share: float) -> int:
        nonlocal deleted
        began_s = time.monotonic()
        count = retention.drop_messages(connection, before, share)
        deleted += count
        steps.append(time.monotonic() - began_s)
        return count

    store = Store(url, folder)
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        elsewhere = pool.apply_async(_store_elsewhere, (url, str(folder), seconds + _BEGINS_AFTER_S))
        await asyncio.sleep(_BEGINS_AFTER_S)
        deleting = asyncio.create_task(maintenance.drop_in_steps(store, drop, datetime.now(UTC) - timedelta(days=1)))
        here = await _store_mail(store, time.monotonic() + seconds)
        deleting.cancel()
        others = await asyncio.to_thread(elsewhere.get)
    store.close()
    print(f"{deleted} messages deleted\n\n| what | n | p50 | p95 | p99 | max, ms | over 50 ms |")
    print("|---|---|---|---|---|---|---|")
    for name, times_s in (("steps", steps), ("mail of this process", here), ("mail of another", others)):
        _print_times(name, times_s)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("--url", default="")
    options.add_argument("--seconds", type=float, default=20)
    chosen = options.parse_args()
    url = chosen.url or engine.database_url("", chosen.folder)
    asyncio.run(measure(url, chosen.folder, chosen.seconds))


if __name__ == "__main__":
    main()
