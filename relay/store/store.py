"""All access to the store: read, write, and a journal for when writing fails."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from relay import log, timed_wait
from relay.store import node_name
from relay.store.database import engine, errors, journal, sqlite_upkeep
from relay.store.database.errors import NotStoredYetError
from relay.store.database.fact_log import FactLog
from relay.store.database.identities import IdentityPolicy
from relay.store.database.journal import Fact, Journal, RemainingLines
from relay.store.database.notifications import NotificationListener
from relay.store.database.reader import GroupedReads, PromptReader, TimedReader
from relay.store.database.recent_facts import RecentFacts
from relay.store.database.write_job import GroupedWork, Work
from relay.store.database.writer import MAX_WRITE_S, Writer
from relay.store.queue import content_files, long_urls
from relay.store.queue.long_url_files import LongUrlFiles
from relay.store.recipients import recipient_filter

if TYPE_CHECKING:
    from relay.store.queue.queue_facts import NewMessage

T = TypeVar("T")
_READER_THREADS = 4
MAX_WAIT_S = 1.0  # with a database that does not answer
_REPLAY_BATCH = 200  # facts a commit: other work goes in between
_RETRY_AFTER_S = 30.0


class DatabaseUnavailableError(Exception):
    """The database does not answer."""


class Store:
    """One process's access to the database. Make it after a fork, never before one."""

    def __init__(self, database_url: str, data_dir: Path, policy: IdentityPolicy = engine.DEFAULT_POLICY) -> None:
        self.identity_policy = policy
        self.node_name = node_name.find(data_dir)  # how the names of this node's workers begin
        self._read_engine = engine.open_engine(database_url, may_write=False, policy=policy)
        self._write_engine = engine.open_engine(database_url, may_write=True, policy=policy)
        self._readers = ThreadPoolExecutor(_READER_THREADS, thread_name_prefix="waypost-reader")
        self._timed_reader = TimedReader(self._read_engine)
        is_sqlite = self._read_engine.dialect.name == "sqlite"
        self._prompt_reader = PromptReader(self._read_engine) if is_sqlite else None
        self.filters = GroupedReads(self.read, recipient_filter.find_filters, self._prompt_reader)
        self.filters_in_time = GroupedReads(self.read_in_time, recipient_filter.find_filters, self._prompt_reader)
        self.writer = Writer(self._write_engine, sqlite_upkeep.LogBound(self._write_engine).hold)
        self.listener = NotificationListener(self._write_engine.url)  # a role runs it; it knows how often to look
        self.journal = Journal(data_dir / "journal", _load_facts)
        self.fact_log = FactLog(data_dir / "journal", _load_facts)
        self._recent_facts = RecentFacts()
        for one in (self._read_engine, self._write_engine):
            sa.event.listen(one, "handle_error", self._check_for_damage)
        self.long_url_files = LongUrlFiles(data_dir)
        self._not_before: dict[Path, float] = {}
        self._pending_writes: set[asyncio.Future[None]] = set()  # that `record` no longer waits for

    @property
    def is_shared(self) -> bool:
        """True if other machines may use this database too."""
        return self._write_engine.dialect.name == "postgresql"

    @contextlib.contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        """Opens a transaction that only reads."""
        with self._read_engine.begin() as connection:
            yield connection

    async def read(self, work: Callable[[sa.Connection], T]) -> T:
        """Runs `work(connection)` on a reader's thread. Raises sqlalchemy.exc.SQLAlchemyError."""

        def run() -> T:
            with self.connect() as connection:
                return work(connection)

        return await asyncio.get_running_loop().run_in_executor(self._readers, run)

    async def read_in_time(self, work: Callable[[sa.Connection], T]) -> T:
        """The same with a time limit. Raises TimeoutError, too, if the database does not answer in time."""
        return await self._timed_reader.read(work)

    async def poll_s(self, usual_s: float, has_waiting: Callable[[sa.Connection], bool]) -> float:
        """How long to wait for a notification before the next look. While something waits for its time, no longer than
        where there are none."""
        poll_s = self.listener.poll_s(usual_s)
        with contextlib.suppress(sa.exc.SQLAlchemyError):
            if poll_s > usual_s and not await self.read(has_waiting):
                return poll_s
        return usual_s

    async def find_long_url(self, reference: bytes) -> bytes | None:
        """Returns the URL that a token only refers to; None if neither a file nor the database has it. Raises
        DatabaseUnavailableError if no file has it and the database does not answer."""
        url = self.long_url_files.find(reference)
        if url is not None:
            return url
        try:
            url = await self.read_in_time(lambda connection: long_urls.find_row(connection, reference))
        except (sa.exc.SQLAlchemyError, TimeoutError):
            raise DatabaseUnavailableError from None
        if url is not None:  # it was sent by another machine: from now on this one has it too
            with contextlib.suppress(OSError):
                await asyncio.to_thread(self.long_url_files.save, {reference: url})
        return url

    async def write(self, work: Callable[[sa.Connection], T], *, begins_commit: bool = False) -> T:
        """Runs `work(connection)` in the writer's next commit; returns when it is durable."""
        return await self.writer.write(work, begins_commit=begins_commit)

    async def save_large_octets(self, new_message: "NewMessage") -> "NewMessage":
        """The message with its octets in a file, where the database has such files and they are large. They stay where
        they are if the disk refuses them, or takes too long."""
        if (
            new_message.octets is None
            or len(new_message.octets) < content_files.MIN_OCTETS
            or self.identity_policy.mode == "aggregate"
        ):
            return new_message
        saving = asyncio.ensure_future(
            asyncio.to_thread(content_files.save_octets, self._write_engine, new_message.message.id, new_message.octets)
        )
        await timed_wait.wait_any(MAX_WRITE_S, saving)
        if saving.done() and saving.exception() is None and saving.result():
            return new_message._replace(octets=None, in_file=True)
        return new_message

    async def commit_fact(
        self,
        name: str,
        value: object,
        undo: Callable[[sa.Connection], None] | None = None,
        unless: "asyncio.Future[None] | None" = None,
    ) -> None:
        """Commits a fact: it is in the database when this returns. Raises TimeoutError as the writer does,
        sqlalchemy.exc.SQLAlchemyError."""
        await self.writer.write_with_timeout(self._work_for(name, value), undo, unless)
        self._note_recent_fact(name, value)

    async def record(self, name: str, value: object, *, journaled: object = None, raises_faults: bool = False) -> None:
        """Commits a fact, or else journals it (`journaled` in its place, if given). It is on disk when this returns.

        While one write waits for an answer of the database, later facts go to the journal at once. If the database
        commits a fact after all, replaying it changes nothing. A fact that fails by itself is journaled too, and the
        replay sets it aside for an operator; with `raises_faults` its error is raised instead. Raises OSError if the
        disk does not take the fact either.
        """
        fact = _load_facts()[name]
        if not self._pending_writes:
            _, writing = self.writer.start(self._work_for(name, value))
            await timed_wait.wait_any(MAX_WAIT_S, writing)
            done = writing.done()
            error = writing.exception() if done else None
            if done and error is None:
                self._note_recent_fact(name, value if journaled is None else journaled)
                return
            if error and not errors.is_database_fault(error) and not isinstance(error, NotStoredYetError):
                if raises_faults:
                    raise error
                log.fault_trace(name, "", errors.format_traceback(error))
            log.fact_journaled(name, errors.describe_error(error) if error else "slow")
            if not done:
                self._pending_writes.add(writing)
                writing.add_done_callback(self._end_pending_write)
        await asyncio.to_thread(
            self.journal.append, name, fact.redact(self.identity_policy, value if journaled is None else journaled)
        )

    @staticmethod
    def _work_for(name: str, value: object) -> Work[None]:
        fact = _load_facts()[name]
        if fact.apply_all:
            return GroupedWork(fact.apply, fact.apply_all, value)
        return lambda connection: fact.apply(connection, value)

    def _note_recent_fact(self, name: str, value: object) -> None:
        if self._write_engine.dialect.name != "sqlite":
            return
        self._recent_facts.add(name, value, _load_facts()[name].mail_octets(value))
        if engine.is_damaged(self._write_engine):  # this commit had begun before that was known
            self._journal_recent_facts()

    def _check_for_damage(self, context: sa.engine.ExceptionContext) -> None:
        if errors.is_damage(context.original_exception):
            self._journal_recent_facts()

    def _journal_recent_facts(self) -> None:
        """Journals the latest facts. They are replayed once a backup is in place, and change nothing twice."""
        facts = [
            (name, _load_facts()[name].redact(self.identity_policy, value)) for name, value in self._recent_facts.take()
        ]
        if not facts:
            return
        try:
            self.journal.append_all(facts)
        except OSError as error:
            log.fact_lost(f"{len(facts)} facts", errors.describe_error(error))

    def _end_pending_write(self, writing: "asyncio.Future[None]") -> None:
        self._pending_writes.discard(writing)
        if not writing.cancelled():
            writing.exception()  # asyncio would log it as never retrieved

    async def commit_facts(self, facts: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:  # Any: as in Fact
        """Commits facts together. Returns those that must wait in the journal. Raises DatabaseUnavailableError if the
        database does not answer in time."""
        from relay.store.facts import apply_facts

        writing = asyncio.ensure_future(self.write(lambda connection: apply_facts(connection, facts)))
        await timed_wait.wait_any(MAX_WAIT_S, writing)
        done = writing.done()
        if done and writing.exception() is None:
            return writing.result()
        error = writing.exception() if done else None
        writing.cancel()  # if it commits after all, the replay has no effect
        writing.add_done_callback(lambda done: done.cancelled() or done.exception())
        if error and not errors.is_database_fault(error):
            log.fault_trace("facts", facts[0][0], errors.format_traceback(error))
        log.fact_journaled(facts[0][0], errors.describe_error(error) if error else "slow")
        raise DatabaseUnavailableError

    async def append_to_journal(self, facts: Sequence[tuple[str, Any]]) -> None:
        """Puts facts on disk. Raises OSError."""
        if facts:
            await asyncio.to_thread(self.journal.append_all, facts)

    async def find_journaled(self, name: str) -> list[bytes]:
        """Returns the journal lines of that kind of fact, of all processes on this machine."""
        return await asyncio.to_thread(self.journal.find_lines, name) if self.journal.has_pending else []

    async def replay_journal(self) -> None:
        """Commits what the journal holds. Raises sqlalchemy.exc.SQLAlchemyError while the database is away, OSError;
        TimeoutError, which is one, if it does not answer."""
        self.fact_log.release()
        with self.journal.lock_files() as paths:
            for path in paths:
                if self._not_before.get(path, 0.0) > time.monotonic():
                    continue
                self._not_before.pop(path, None)
                try:
                    is_done = await self._replay_file(path)
                except Exception as error:
                    if errors.is_database_fault(error):
                        raise
                    log.fault("replay", path.name)  # the other files do not wait for this one
                    is_done = False
                if not is_done:  # some lines wait for facts of other files: do not try again every two seconds
                    self._not_before[path] = time.monotonic() + _RETRY_AFTER_S

    async def _replay_file(self, path: Path) -> bool:
        """False if lines are left for later."""
        from relay.store.facts import replay_lines

        lines = await asyncio.to_thread(journal.read_lines, path)
        remaining = RemainingLines([], [])
        for at in range(0, len(lines), _REPLAY_BATCH):
            chunk = lines[at : at + _REPLAY_BATCH]
            # Without a limit a mail role would not start again while PostgreSQL hangs. What is replayed twice is there
            # once.
            done = await self.writer.write_with_timeout(
                lambda connection, chunk=chunk: replay_lines(self.journal, connection, chunk)  # type: ignore[misc]
            )
            remaining.waiting.extend(done.waiting)
            remaining.invalid.extend(done.invalid)
        self.journal.rewrite_file(path, remaining)
        return not remaining.waiting

    def change_tables(self, work: Callable[[sa.Connection], T]) -> T:
        """Runs `work(connection)` in a transaction of its own, apart from the writer's: it may wait for locks on whole
        tables. Raises sqlalchemy.exc.SQLAlchemyError."""
        with self._write_engine.begin() as connection:
            return work(connection)

    def checkpoint(self) -> None:
        """Empties SQLite's write-ahead log. If readers hold it up, a later call does it. Raises
        sqlalchemy.exc.SQLAlchemyError."""
        sqlite_upkeep.checkpoint(self._write_engine)

    def analyze(self) -> None:
        """Has SQLite look at the sizes of tables and indexes. Raises sqlalchemy.exc.SQLAlchemyError."""
        if sqlite_upkeep.analyze(self._write_engine):
            self._read_engine.dispose()  # a connection reads the result when it is opened

    def close(self) -> None:
        """Commits what was submitted and closes the database."""
        self.writer.close()
        self.fact_log.close()
        self._timed_reader.close()
        if self._prompt_reader is not None:
            self._prompt_reader.close()
        self._readers.shutdown(wait=False, cancel_futures=True)  # it may hang
        self._read_engine.dispose()
        self._write_engine.dispose()


def _load_facts() -> Mapping[str, Fact]:
    """The kinds of facts. Their modules are half of the store, and most commands have no facts."""
    from relay.store.facts import FACTS

    return FACTS
