"""Reads with a time limit, for mail whose client waits for a reply, and for links.

A database may hang without an error: its disk stalls, its host is suspended, another process holds a lock. A read then
fails after `MAX_READ_S`, and further reads fail at once. Every two seconds one read tries whether it answers again.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar, cast

import sqlalchemy as sa

from relay import log
from relay.store.database import engine as engines

T = TypeVar("T")
MAX_READ_S = 1.0
_THREADS = 4  # so many may hang at a time
_STATEMENT_MS = 2000  # then PostgreSQL ends what waits for a lock, and the thread is free again
_RETRY_S = 2.0
_MAX_QUESTIONS = 100  # that are answered together


class TimedReader:
    """Has threads of its own, so that no other read of the process is before these."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="waypost-prompt-reader")
        self._retry_at_s = 0.0  # while it does not answer

    async def read(self, work: Callable[[sa.Connection], T]) -> T:
        """Returns `work(connection)`. Raises TimeoutError if it takes too long, sqlalchemy.exc.SQLAlchemyError."""
        now_s = time.monotonic()
        if now_s < self._retry_at_s:
            raise TimeoutError
        if self._retry_at_s:
            self._retry_at_s = now_s + _RETRY_S  # this read tries; others fail at once meanwhile
        reading = asyncio.get_running_loop().run_in_executor(self._threads, self._run, work)
        try:
            # `asyncio.timeout` would drop an answer that came while the event loop was busy.
            await asyncio.wait({reading}, timeout=MAX_READ_S)
            if reading.done():
                return reading.result()
        finally:
            reading.cancel()  # what has not begun need not
        self._retry_at_s = time.monotonic() + _RETRY_S
        log.database_unavailable("slow")
        raise TimeoutError

    def _run(self, work: Callable[[sa.Connection], T]) -> T:
        with self._engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                # LOCAL: behind a pooler (PgBouncer) the connection is somebody else's afterwards.
                connection.exec_driver_sql(f"SET LOCAL statement_timeout = {_STATEMENT_MS}")
            result = work(connection)
        self._retry_at_s = 0.0
        return result

    def close(self) -> None:
        """Ends the threads without waiting for reads that hang."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class NotPromptError(Exception):
    """The answer cannot be had without waiting, or not at all: whoever asked waits on another thread."""


class PromptReader:
    """Reads SQLite on the event loop's own thread, for questions whose answer takes microseconds.

    A thread for each of them takes longer than the answer: it was 13 % of a mail's processor time. No lock is waited
    for; only a disk that hangs would hold the event loop up.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._connection: sa.Connection | None = None
        self._opening: asyncio.Future[None] | None = None

    def read(self, work: Callable[[sa.Connection], T]) -> T:
        """Returns `work(connection)`, which runs outside of any transaction. Raises NotPromptError."""
        if self._connection is None:
            if self._opening is None or self._opening.done():
                self._opening = asyncio.get_running_loop().run_in_executor(None, self._open)
            raise NotPromptError
        try:
            if engines.is_current(self._connection):
                return work(self._connection)
        except sqlite3.Error as error:
            self.close()
            raise NotPromptError from error
        self.close()
        raise NotPromptError

    def _open(self) -> None:
        with contextlib.suppress(sa.exc.SQLAlchemyError, sqlite3.Error):  # the next question tries again
            connection = self._engine.connect()
            connection.detach()  # it is not for anybody else
            driver: sqlite3.Connection = connection.connection.dbapi_connection  # type: ignore[assignment]
            driver.execute("PRAGMA busy_timeout=0")
            self._connection = connection

    def close(self) -> None:
        """Closes the connection. The next question has a new one opened."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


Question = TypeVar("Question")
Answer = TypeVar("Answer")


class GroupedReads(Generic[Question, Answer]):
    """Questions that come while others are answered are answered together, by one read."""

    def __init__(
        self,
        read: Callable[[Callable[[sa.Connection], list[Answer]]], Awaitable[list[Answer]]],
        answer_all: Callable[[sa.Connection, Sequence[Question]], list[Answer]],
        prompt_reader: PromptReader | None = None,
    ) -> None:
        """`answer_all` returns an answer to each question, in order. `prompt_reader` is asked first, and `read` only
        where it has no answer at once."""
        self._read = read
        self._answer_all = answer_all
        self._prompt_reader = prompt_reader
        self._waiting: list[tuple[Question, asyncio.Future[Answer]]] = []
        self._reading: asyncio.Task[None] | None = None

    async def ask(self, question: Question) -> Answer:
        """The answer. Raises what the read raises."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((question, answer))
        if self._reading is None:
            self._reading = loop.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:_MAX_QUESTIONS], self._waiting[_MAX_QUESTIONS:]
                await self._answer(group)
        finally:
            self._reading = None

    async def _answer(self, group: "list[tuple[Question, asyncio.Future[Answer]]]") -> None:
        def work(connection: sa.Connection) -> list[Answer]:
            return self._answer_all(connection, [one for one, _ in group])

        try:
            answers = await self._read_all(work)
        except Exception as error:  # noqa: BLE001  the caller decides
            for _, future in group:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in zip(group, answers, strict=True):
            if not future.done():  # the caller may have been cancelled
                future.set_result(answer)

    async def _read_all(self, work: Callable[[sa.Connection], list[Answer]]) -> list[Answer]:
        if self._prompt_reader is not None:
            with contextlib.suppress(NotPromptError):
                return self._prompt_reader.read(work)
        return await self._read(work)


class SharedReads:
    """Reads that take long, one at a time: whoever asks the same while one is under way waits, and shares the next.
    Everybody sees what was committed before they asked."""

    def __init__(self, read: Callable[[Callable[[sa.Connection], list[object]]], Awaitable[list[object]]]) -> None:
        self._reads: GroupedReads[tuple[Hashable, Callable[[sa.Connection], object]], object]
        self._reads = GroupedReads(read, _answer_once)

    async def read(self, question: Hashable, work: Callable[[sa.Connection], T]) -> T:
        """Returns `work(connection)`, or that of somebody else who asked the same. Raises what the read raises."""
        return cast(T, await self._reads.ask((question, work)))  # equal questions have answers of one type


def _answer_once(
    connection: sa.Connection, asked: Sequence[tuple[Hashable, Callable[[sa.Connection], object]]]
) -> list[object]:
    answers: dict[Hashable, object] = {}
    for question, work in asked:
        if question not in answers:
            answers[question] = work(connection)
    return [answers[question] for question, _ in asked]
