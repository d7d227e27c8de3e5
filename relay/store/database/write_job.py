"""A job of the writer: work on the database, and what came of it once it is durable.

In: work, and who waits for it: a thread, or an event loop's future.  Out: its result, or its error. (One of
`concurrent.futures` takes a lock and 25 calls for each mail.)
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

T = TypeVar("T")
Work = Callable[[sa.Connection], T]


@dataclass(frozen=True, slots=True)
class GroupedWork:
    """Work that is done once for all of its kind in a commit, in the place of the first of them."""

    apply: Callable[[sa.Connection, Any], None]  # Any: the value's type is the kind's
    apply_all: Callable[[sa.Connection, Sequence[Any]], None]
    value: Any

    def __call__(self, connection: sa.Connection) -> None:
        """Does the work for this one value."""
        self.apply(connection, self.value)


class JobState(Enum):
    """Where a job stands."""

    WAITING = auto()
    UNDER_WAY = auto()
    LEFT_OUT = auto()  # it was withdrawn before it began
    ENDED = auto()


class FailedJob:
    """In the place of a result: the error."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class Job(Generic[T]):
    """Work that was given to the writer, which alone changes the job."""

    __slots__ = ("_has_ended", "_result", "begins_commit", "is_withdrawn", "state", "undo", "waiter", "work")

    def __init__(
        self,
        work: Work[T],
        undo: Work[None] | None = None,
        *,
        begins_commit: bool = False,
        waiter: "asyncio.Future[T] | None" = None,
    ) -> None:
        """`waiter` is of an event loop, which is woken once for all jobs of a commit; without one a thread waits."""
        self.work, self.undo, self.begins_commit, self.waiter = work, undo, begins_commit, waiter
        self.state = JobState.WAITING
        self.is_withdrawn = False  # while it was under way
        self._result: T | FailedJob | None = None
        self._has_ended = threading.Event() if waiter is None else None

    def end(self, result: T | FailedJob) -> None:
        """It is durable, or has failed."""
        self.state, self._result = JobState.ENDED, result
        if self._has_ended is not None:
            self._has_ended.set()

    def result(self, timeout_s: float | None = None) -> T:
        """Waits for the result, and returns it. Raises the job's error, or TimeoutError."""
        assert self._has_ended is not None
        if not self._has_ended.wait(timeout_s):
            raise TimeoutError
        if isinstance(self._result, FailedJob):
            raise self._result.error
        return self._result  # type: ignore[return-value]  # it has ended

    def wake_waiter(self) -> None:
        """Gives the result to the event loop's future. Call it on that loop."""
        waiter, result = self.waiter, self._result
        if waiter is None or waiter.done():
            return
        if isinstance(result, FailedJob):
            waiter.set_exception(result.error)
        else:
            waiter.set_result(result)  # type: ignore[arg-type]  # as above


def run_grouped(connection: sa.Connection, jobs: Sequence[Job[Any]]) -> list[Any]:
    """Runs the work in order, but grouped work of a kind at once. Returns the results in order."""
    values: dict[object, list[Any]] = {}
    for job in jobs:
        if isinstance(job.work, GroupedWork):
            values.setdefault(job.work.apply_all, []).append(job.work.value)
    results: list[Any] = []
    for job in jobs:
        work = job.work
        if not isinstance(work, GroupedWork):
            results.append(work(connection))
            continue
        if group := values.pop(work.apply_all, None):
            work.apply_all(connection, group)
        results.append(None)
    return results
