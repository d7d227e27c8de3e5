"""Writes facts to disk before their request is answered, and to the database afterwards.

In: facts; `add` does not wait.  Out: for each a future that is done when the fact is on disk, in the process's
`fact_log`. Facts that come together are forced to disk together; if no other is under way, a fact is written at once.
Then they are committed in batches, one after the other. In the pause between two batches more facts gather, so that a
delivery is judged once a commit. While the database does not answer, facts stay in the log to be replayed, and every
few seconds the database is tried again. Facts that the log's disk does not take go to the database at once, or wait in
memory, up to a limit.
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections import Counter, deque
from typing import Any, NamedTuple

from relay import log
from relay.store.database import errors
from relay.store.database.fact_log import LogFile
from relay.store.store import DatabaseUnavailableError, Store

MAX_WAITING = 50_000  # facts in memory, some 50 MB; beyond that, facts that are on disk are left to be replayed
_MAX_TOGETHER = 200  # facts a commit, which takes 20 ms; answers wait so long
_MAX_ANSWER_WAIT_S = 1.0  # if the disk hangs, the answer goes out before the fact is on disk
_AWAY_S = 2.0  # from a try that the database did not answer to the next one
_NO_DISK_S = 1.0
# Measured at 220 hits a second: commits without a pause keep one core busy, and redirects wait for it.
_GATHER_S = 0.05
# While many arrive, the pause is this multiple of the last commit's time, for the answers: the log has what waits.
_MANY, _LOADED_PAUSE = 40, 4
_LAST_TRIES_S = 5.0  # at a stop, for facts that no disk has taken yet

_HINTS = ("observation",)  # these are not forced to disk
Fact = tuple[str, Any]  # Any: the value's type follows from the name (relay.store.facts.FACTS)


class _WaitingFact(NamedTuple):
    """A fact that is to be committed, and the file of the log that has it; None if no disk has it."""

    fact: Fact
    log_file: LogFile | None


class _Group(NamedTuple):
    """Facts that are forced to disk together, each with the future that waits for it."""

    loop: asyncio.AbstractEventLoop
    facts: list[Fact]
    answers: "list[asyncio.Future[None]]"


class FactBuffer:
    """One process's facts that are not in the database yet."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._unlogged: list[Fact] = []
        self._answers: list[asyncio.Future[None]] = []  # one for each of them
        self._groups: queue.SimpleQueue[_Group | None] = queue.SimpleQueue()  # for the thread that writes to disk
        self._thread: threading.Thread | None = None
        self._logging: asyncio.Future[None] | None = None  # done when the group that is under way is on disk
        self._waiting: deque[_WaitingFact] = deque()
        self._committing: asyncio.Task[None] | None = None
        self._away_until = 0.0
        self._arrived = 0  # facts since the last batch began
        self._one_by_one = 0  # so many facts are committed one by one, because one of them fails
        self._closing_at: float | None = None

    def add(self, name: str, value: object) -> "asyncio.Future[None]":
        """Takes a fact, in order. The future is done when the fact is on disk, or when the disk takes too long for an
        answer to wait. It never has an exception."""
        on_disk: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if name in _HINTS:
            on_disk.set_result(None)
            self._enqueue([(name, value)], None)
            return on_disk
        self._unlogged.append((name, value))
        self._answers.append(on_disk)
        if self._logging is None:
            self._start_logging()
        return on_disk

    async def flush(self) -> None:
        """Waits until every fact so far is in the database, or on a disk from which it is replayed."""
        self._closing_at = time.monotonic() + _LAST_TRIES_S
        while task := self._logging or self._committing:
            await task
        self._store.fact_log.release()
        self._groups.put(None)
        self._thread = None

    # --- to disk

    def _start_logging(self) -> None:
        """Has the thread write the facts that have gathered. Meanwhile more gather: no fact waits for a fixed time."""
        loop = asyncio.get_running_loop()
        self._logging = self._logging or loop.create_future()
        group = _Group(loop, self._unlogged, self._answers)
        self._unlogged, self._answers = [], []
        self._too_slow = loop.call_later(_MAX_ANSWER_WAIT_S, _set_done, group.answers)
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_groups, name="fact-log", daemon=True)
            self._thread.start()
        self._groups.put(group)

    def _write_groups(self) -> None:
        while (group := self._groups.get()) is not None:
            result: LogFile | Exception
            try:
                result = self._store.fact_log.append(group.facts)
            except Exception as error:  # noqa: BLE001  whatever it is, the database may take them
                result = error
            with contextlib.suppress(RuntimeError):  # the event loop is closed: nobody waits any more
                group.loop.call_soon_threadsafe(self._end_logging, group, result)

    def _end_logging(self, group: "_Group", result: LogFile | Exception) -> None:
        self._too_slow.cancel()
        _set_done(group.answers)
        if isinstance(result, LogFile):
            self._enqueue(group.facts, result)
        else:
            name = group.facts[0][0]
            if errors.is_database_fault(result):
                log.fact_waiting(name, errors.describe_error(result))
            else:
                log.fault_trace("fact", name, errors.format_traceback(result))
            self._enqueue(group.facts, None)
        if self._unlogged:
            self._start_logging()
        elif self._logging:
            self._logging.set_result(None)
            self._logging = None

    # --- to the database

    def _enqueue(self, facts: list[Fact], log_file: LogFile | None) -> None:
        if len(self._waiting) >= MAX_WAITING:
            if log_file is not None:
                self._store.fact_log.leave_to_replay(log_file, len(facts))
            else:
                log.fact_lost(facts[0][0], "neither database nor journal takes anything, and the memory for it is full")
            return
        self._arrived += len(facts)
        self._waiting.extend(_WaitingFact(fact, log_file) for fact in facts)
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit())

    async def _commit(self) -> None:
        try:
            while self._waiting:
                most = 1 if self._one_by_one else _MAX_TOGETHER
                self._one_by_one = max(0, self._one_by_one - 1)
                self._arrived = 0
                began_s = time.monotonic()
                batch = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
                try:
                    await self._commit_batch(batch)
                except Exception as error:  # noqa: BLE001  the task's outermost frame: nobody waits for it
                    if await self._is_hopeless(batch, error):
                        continue
                    self._waiting.extendleft(reversed(batch))
                if self._closing_at is None and not self._one_by_one:
                    await asyncio.sleep(self._pause_s(time.monotonic() - began_s))
        finally:
            self._committing = None

    def _pause_s(self, took_s: float) -> float:
        if self._arrived > _MANY:
            return max(_GATHER_S, _LOADED_PAUSE * took_s)
        return _GATHER_S if len(self._waiting) < _MAX_TOGETHER else 0.0

    async def _is_hopeless(self, batch: list[_WaitingFact], error: Exception) -> bool:
        """True if the batch is not to be tried again. If several facts failed together, each is then tried alone."""
        name = batch[0].fact[0]
        if not errors.is_database_fault(error):
            if len(batch) > 1:
                self._one_by_one = len(batch)
                return False
            log.fault("fact", name)
            log.fact_lost(name, "it can be written neither into the database nor into the journal")
            self._mark_committed(batch)  # else each replay would fail with it
            return True
        if self._closing_at and time.monotonic() > self._closing_at:
            if unlogged := _unlogged_facts(batch):
                log.fact_lost(f"{len(unlogged)} facts", errors.describe_error(error))
            self._leave_to_replay(batch)
            return True
        log.fact_waiting(name, errors.describe_error(error))
        await asyncio.sleep(_NO_DISK_S)
        return False

    async def _commit_batch(self, batch: list[_WaitingFact]) -> None:
        """Commits the facts, or leaves them on disk. Raises OSError for facts that neither database nor disk takes."""
        if time.monotonic() >= self._away_until:
            try:
                for_later = await self._store.commit_facts([one.fact for one in batch])
            except DatabaseUnavailableError:
                self._away_until = time.monotonic() + _AWAY_S
            else:
                await self._store.append_to_journal([fact for fact in for_later if fact[0] not in _HINTS])
                self._mark_committed(batch)
                return
        await self._store.append_to_journal(_unlogged_facts(batch))
        self._leave_to_replay(batch)

    def _leave_to_replay(self, batch: list[_WaitingFact]) -> None:
        for log_file, count in _count_by_file(batch).items():
            self._store.fact_log.leave_to_replay(log_file, count)

    def _mark_committed(self, batch: list[_WaitingFact]) -> None:
        for log_file, count in _count_by_file(batch).items():
            self._store.fact_log.mark_committed(log_file, count)


def _unlogged_facts(batch: list[_WaitingFact]) -> list[Fact]:
    """Facts that no disk has and that must not get lost."""
    return [one.fact for one in batch if one.log_file is None and one.fact[0] not in _HINTS]


def _count_by_file(batch: list[_WaitingFact]) -> Counter[LogFile]:
    return Counter(one.log_file for one in batch if one.log_file is not None)


def _set_done(futures: "list[asyncio.Future[None]]") -> None:
    for future in futures:
        if not future.done():  # a client that hung up has cancelled it
            future.set_result(None)
