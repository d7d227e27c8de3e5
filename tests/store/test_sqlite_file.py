"""SQLite's files stay small: free pages are used again, and the write-ahead log has a bound under load."""

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from relay.store import retention
from relay.store.database import engine, sqlite_upkeep, tables
from relay.store.store import Store
from tests import sqlite_file
from tests.waiting import until

BOUND = 1 << 20
PIECE = 64 << 10

pytestmark = pytest.mark.sqlite


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store whose write-ahead log may have 1 MB."""
    monkeypatch.setattr(engine, "MAX_LOG_OCTETS", BOUND)
    url = sqlite_file.make_database_with_tables(tmp_path)
    one = Store(url, tmp_path)
    yield one
    one.close()


def insert(opened: Store, numbers: Iterable[int]) -> None:
    for n in numbers:
        row = sa.insert(tables.content).values(message=f"m{n:06}", octets=os.urandom(PIECE))
        opened.writer.submit(lambda connection, row=row: connection.execute(row)).result(60)  # type: ignore[misc]


def insert_until(opened: Store, numbers: Iterator[int], is_done: Callable[[], bool]) -> None:
    """Goes on writing until something holds."""

    def look() -> bool:
        if is_done():
            return True
        insert(opened, itertools.islice(numbers, 1))
        return False

    until(look, every_s=0)


def log_octets(folder: Path) -> int:
    return (folder / f"{engine.DATABASE_FILE}-wal").stat().st_size


def test_the_log_shrinks_once_a_long_reader_has_ended(small: Store, tmp_path: Path) -> None:
    with small.connect() as connection:
        connection.execute(sa.select(tables.content.c.message)).all()
        insert(small, range(40))
        assert log_octets(tmp_path) > 2 * BOUND  # its pages are needed, and nobody waits for the reader
    insert_until(small, itertools.count(40), lambda: log_octets(tmp_path) <= BOUND)


@contextlib.contextmanager
def endless_readers(opened: Store) -> Iterator[None]:
    """Short reads by two threads, so that the log is in use at any time."""
    is_over = threading.Event()
    turns = [threading.Semaphore(1), threading.Semaphore(0)]

    def read(me: int) -> None:
        while not is_over.is_set():
            turns[me].acquire()
            with opened.connect() as connection:
                connection.execute(sa.select(tables.message.c.id)).all()
                turns[1 - me].release()  # the other one begins before this one ends
                time.sleep(0.005)

    threads = [threading.Thread(target=read, args=(n,)) for n in range(2)]
    for one in threads:
        one.start()
    yield
    is_over.set()
    for turn in turns:
        turn.release()
    for one in threads:
        one.join()


def test_the_log_has_a_bound_though_somebody_reads_at_any_time(
    small: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_upkeep, "_BOUND_EVERY_S", 0.1)
    numbers = itertools.count()
    insert(small, itertools.islice(numbers, 1))
    with endless_readers(small):
        insert_until(small, numbers, lambda: log_octets(tmp_path) > BOUND)
        insert_until(small, numbers, lambda: log_octets(tmp_path) < BOUND)


def test_a_few_free_pages_stay_for_new_rows(small: Store) -> None:
    insert(small, range(20))
    for number, is_shrunk in ((1, False), (10, True)):
        gone = sa.delete(tables.content).where(tables.content.c.message <= f"m{number:06}")
        small.writer.submit(lambda connection, gone=gone: connection.execute(gone)).result(60)  # type: ignore[misc]
        assert (small.writer.submit(retention.shrink_file).result(60) > 0) is is_shrunk
