"""The one thread of a process that writes to the database. Work that has gathered is committed together.

Measured: 1,457 single commits a second, 29,900 rows a second at 32 a commit (docs/architecture.md#one-writer-thread).
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa

from relay import timed_wait
from relay.store.database import after_commit, errors, roll_ups, savepoints, write_job
from relay.store.database.write_job import FailedJob, Job, JobState, Work

T = TypeVar("T")

MAX_JOBS_PER_COMMIT = 256
MAX_WRITE_S = 5.0  # if a client waits
# When more than a few jobs came for a commit, the next one waits so long for more. Each time SQLite is left or entered,
# Python's lock changes hands with the event loop, which is busy with just those mails: with half of the commits, made
# while it waits for them, a mail takes two thirds of the processor time and more pass (3 to 10 connections; 2 ms was
# no better, 4 ms worse).
_GATHER_S = 0.0015
_FEW_JOBS = 2  # one connection in queued mode has as many: it would only wait


class Writer:
    """Commits work in order. If a job fails, it alone is undone; if a commit fails, all its jobs fail.

    Work may be run twice before it is committed once, so it acts on its connection only.
    """

    def __init__(self, engine: sa.Engine, after_commit: Callable[[], None] = lambda: None) -> None:
        """`after_commit` is called between two commits, on the writer's thread, and raises nothing."""
        self._engine = engine
        self._after_commit = after_commit
        self._jobs: queue.SimpleQueue[Job[Any] | None] = queue.SimpleQueue()  # Any: a job's result is its own
        self._thread = threading.Thread(target=self._run, name="waypost-writer", daemon=True)
        self._connection: sa.Connection | None = None
        self._began_at_s: float | None = None
        self._may_have_committed = False  # the commit is under way: it may have been made even if it fails
        self._decision_lock = threading.Lock()
        self._to_undo: list[Job[Any]] = []
        self._is_closing = threading.Event()
        self._thread.start()

    @property
    def busy_s(self) -> float:
        """How long the commit that is under way has lasted, in seconds."""
        began_at_s = self._began_at_s
        return time.monotonic() - began_at_s if began_at_s is not None else 0.0

    def submit(self, work: Work[T], undo: Work[None] | None = None, *, begins_commit: bool = False) -> Job[T]:
        """Runs `work(connection)` in the next commit. The job has its result when it is durable, or the error.

        If the commit was made although the job has an error or was withdrawn, `undo` reverses it in the next one.
        `begins_commit`: the work runs first in its commit, so that it sees nothing that may still be undone.
        """
        job = Job(work, undo, begins_commit=begins_commit)
        self._jobs.put(job)
        return job

    def start(
        self, work: Work[T], undo: Work[None] | None = None, *, begins_commit: bool = False
    ) -> "tuple[Job[T], asyncio.Future[T]]":
        """The same from an event loop: the job, by which it can be withdrawn, and a future that can be awaited. The
        latter stays open if the job is withdrawn before it begins."""
        waiter: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        job = Job(work, undo, begins_commit=begins_commit, waiter=waiter)
        self._jobs.put(job)
        return job, waiter

    async def write(self, work: Work[T], *, begins_commit: bool = False) -> T:
        """The result, once it is durable. If the caller is cancelled before the work has begun, it is left out."""
        job, writing = self.start(work, begins_commit=begins_commit)
        try:
            return await writing
        except asyncio.CancelledError:
            with self._decision_lock:
                if job.state is JobState.WAITING:
                    job.state = JobState.LEFT_OUT
            raise

    async def write_with_timeout(
        self, work: Work[T], undo: Work[None] | None = None, unless: "asyncio.Future[None] | None" = None
    ) -> T:
        """The same with a time limit. Raises TimeoutError if the database does not answer in time, and as soon as
        `unless` is done. Then the work has no effect."""
        if self.busy_s > MAX_WRITE_S:
            raise TimeoutError("no answer in time")
        job, writing = self.start(work, undo)
        try:
            await timed_wait.wait_any(MAX_WRITE_S, writing, *([unless] if unless else []))
        except asyncio.CancelledError:
            self.withdraw(job)
            raise
        if self.withdraw(job):
            writing.cancel()
            raise TimeoutError("no answer in time")
        return await writing

    def withdraw(self, job: Job[Any]) -> bool:
        """Takes the job back: it is left out, or undone. False if it has its result already."""
        with self._decision_lock:
            if job.state is JobState.ENDED:
                return False
            if job.state is JobState.WAITING:
                job.state = JobState.LEFT_OUT
            else:
                job.is_withdrawn = True
            return True

    def close(self) -> None:
        """Commits what has been submitted, then ends the thread. A database that hangs is not waited for."""
        self._jobs.put(None)
        self._is_closing.set()
        while self._thread.is_alive() and self.busy_s <= 2 * MAX_WRITE_S:
            self._thread.join(0.1)

    def _run(self) -> None:
        group: list[Job[Any]] = []
        held: Job[Any] | None = None
        is_last = False
        while not is_last:
            first = held or self._jobs.get()
            if len(group) > _FEW_JOBS and first is not None:
                self._is_closing.wait(_GATHER_S)
            group, held, is_last = self._take_group(first)
            self._began_at_s = time.monotonic()
            self._commit(group)
            self._began_at_s = None
            self._after_commit()
        self._disconnect()

    def _take_group(self, job: Job[Any] | None) -> tuple[list[Job[Any]], Job[Any] | None, bool]:
        """The jobs of one commit, from this one on; one that begins the next commit; and whether there is no next."""
        group: list[Job[Any]] = []
        while job is not None:
            if job.begins_commit and group:
                return group, job, False
            group.append(job)
            if len(group) >= MAX_JOBS_PER_COMMIT:
                return group, None, False
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return group, None, False
        return group, None, True

    def _commit(self, group: list[Job[Any]]) -> None:
        with self._decision_lock:  # what was withdrawn until now is left out; from here on it is undone
            group = [job for job in group if job.state is JobState.WAITING]
            for job in group:
                job.state = JobState.UNDER_WAY
        if not group:
            return
        try:
            self._undo_jobs()
            try:
                results = self._run_together(group)
            except Exception as error:
                if errors.is_database_fault(error):
                    raise
                results = self._run_each(group)  # one job failed: find out which, and commit the others
        except Exception as error:  # noqa: BLE001  the thread must live; whoever waits decides
            self._disconnect()
            if self._may_have_committed:
                self._to_undo += [job for job in group if job.undo]
            results = [FailedJob(error)] * len(group)
        self._set_results(group, results)
        try:
            self._undo_jobs()
        except sa.exc.SQLAlchemyError:
            self._disconnect()  # this is done before the next write

    def _set_results(self, group: list[Job[Any]], results: list[Any]) -> None:
        with self._decision_lock:
            for job, result in zip(group, results, strict=True):
                if job.is_withdrawn and job.undo and not isinstance(result, FailedJob):
                    self._to_undo.append(job)
                job.end(result)
        by_loop: dict[asyncio.AbstractEventLoop, list[Job[Any]]] = {}
        for job in group:
            if job.waiter is not None:
                by_loop.setdefault(job.waiter.get_loop(), []).append(job)
        for loop, jobs in by_loop.items():
            with contextlib.suppress(RuntimeError):  # the event loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_wake_waiters, jobs)

    def _undo_jobs(self) -> None:
        """Undoes jobs that were committed although their caller got an error. Raises what the database raises."""
        try:
            if self._to_undo:
                self._run_each([Job(job.undo) for job in self._to_undo if job.undo])
                self._to_undo.clear()
        finally:
            self._may_have_committed = False

    def _run_together(self, group: list[Job[Any]]) -> list[Any]:
        """Runs all in one commit, without savepoints. Returns the results in order."""
        connection = self._open_connection()
        with after_commit.transaction(connection):
            with roll_ups.gather_counts(connection):
                results = write_job.run_grouped(connection, group)
            self._may_have_committed = True
        return results

    def _run_each(self, group: list[Job[Any]]) -> list[Any]:
        """Runs all in one commit, each in a savepoint: those that fail are undone alone."""
        connection = self._open_connection()
        with after_commit.transaction(connection):
            with roll_ups.gather_counts(connection):
                results = savepoints.run_each(
                    connection, group, lambda job: job.work(connection), lambda _, error: FailedJob(error)
                )
            self._may_have_committed = True
        return results

    def _open_connection(self) -> sa.Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                connection.close()


def _wake_waiters(jobs: list[Job[Any]]) -> None:
    for job in jobs:
        job.wake_waiter()
