"""The store's one door: read, write, and a journal for when writing fails."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
from pydantic import ConfigDict, TypeAdapter

from relay import log
from relay.store.database import engine, errors, migrate
from relay.store.database.errors import NotYetError
from relay.store.database.identities import People
from relay.store.database.journal import Fact, Journal, Replayed
from relay.store.database.reader import Reader
from relay.store.database.recent_facts import RecentFacts
from relay.store.database.writer import Writer
from relay.store.queue import deliveries, long_urls, redaction, unstorable_results
from relay.store.recipients import consent, stream_preferences
from relay.store.tracking import hits, verdicts

T = TypeVar("T")
READERS = 4
PATIENCE_S = 1.0  # with a database that does not answer
REPLAYED_TOGETHER = 200  # facts a commit: other work goes in between
LATER_S = 30.0
_CHECKPOINT_MS = 200  # meanwhile nobody writes
_OCTETS = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")


class Away(Exception):
    """The database does not answer."""


class Settled(NamedTuple):
    """How attempts at one message ended, as a fact."""

    message: str
    outcomes: list[deliveries.Outcome]
    worker: str = ""  # who held the leases


FACTS = {
    "filing": Fact(TypeAdapter(deliveries.Filing, config=_OCTETS), deliveries.file, redaction.filing),
    "settled": Fact(
        TypeAdapter(Settled),
        lambda connection, fact: deliveries.settle(connection, *fact),
        lambda people, fact: fact._replace(outcomes=redaction.outcomes(people, fact.outcomes)),
        lambda connection, fact: unstorable_results.settle_in_short(connection, *fact),
    ),
    "hit": Fact(TypeAdapter(hits.Hit), hits.record),
    "sight": Fact(TypeAdapter(verdicts.Sight), verdicts.note),
    "preferences": Fact(TypeAdapter(stream_preferences.Choice), stream_preferences.choose),
    "untrack": Fact(TypeAdapter(hits.Asked), hits.untrack),
    "track": Fact(TypeAdapter(hits.Asked), hits.track),
    "consent": Fact(TypeAdapter(consent.Wish), consent.decide),
}


class Store:
    """One process's way to the database. Make it after a fork, never before one."""

    def __init__(self, database_url: str, data_dir: Path, people: People = engine.NOBODY_KNOWN) -> None:
        self.people = people
        self._reading = engine.open_engine(database_url, writes=False, known=people)
        self._writing = engine.open_engine(database_url, writes=True, known=people)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="waypost-reader")
        self._prompt = Reader(self._reading)
        self.writer = Writer(self._writing)
        self.journal = Journal(data_dir / "journal", FACTS)
        self._recent = RecentFacts()
        for one in (self._reading, self._writing):
            sa.event.listen(one, "handle_error", self._look_for_damage)
        self.destinations = long_urls.Destinations(data_dir)
        self._not_before: dict[Path, float] = {}
        self._unanswered: set[asyncio.Future[None]] = set()  # writes that `keep` no longer waits for

    @contextlib.contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        """Opens a transaction that only reads."""
        with self._reading.begin() as connection:
            yield connection

    async def read(self, work: Callable[[sa.Connection], T]) -> T:
        """Runs `work(connection)` on a reader's thread. Raises sqlalchemy.exc.SQLAlchemyError."""

        def run() -> T:
            with self.connect() as connection:
                return work(connection)

        return await asyncio.get_running_loop().run_in_executor(self._readers, run)

    async def read_in_time(self, work: Callable[[sa.Connection], T]) -> T:
        """The same for whoever cannot wait. Raises TimeoutError if the database does not answer in time, too."""
        return await self._prompt.read(work)

    async def destination(self, reference: bytes) -> bytes | None:
        """Where a link leads whose token only refers to it; None if nobody knows any more. Raises Away where no file
        has it and the database cannot be asked."""
        url = self.destinations.find(reference)
        if url is not None:
            return url
        try:
            url = await self.read_in_time(lambda connection: long_urls.row(connection, reference))
        except (sa.exc.SQLAlchemyError, TimeoutError):
            raise Away from None
        if url is not None:  # another machine's mail: from now on it is here too
            with contextlib.suppress(OSError):
                await asyncio.to_thread(self.destinations.keep, {reference: url})
        return url

    async def write(self, work: Callable[[sa.Connection], T], *, begins_commit: bool = False) -> T:
        """Runs `work(connection)` in the writer's next commit; returns when it is durable."""
        return await asyncio.wrap_future(self.writer.submit(work, begins_commit=begins_commit))

    async def record(
        self,
        name: str,
        value: object,
        undo: Callable[[sa.Connection], None] | None = None,
        unless: "asyncio.Future[None] | None" = None,
    ) -> None:
        """Commits a fact: it is in the database when this returns. Raises TimeoutError as the writer does,
        sqlalchemy.exc.SQLAlchemyError."""
        await self.writer.write_in_time(lambda connection: FACTS[name].apply(connection, value), undo, unless)
        self._remember(name, value)

    async def keep(self, name: str, value: object, *, journaled: object = None, raises_faults: bool = False) -> None:
        """Commits a fact, or else journals it (`journaled` in its place, if given): it is on disk when this returns.

        A database that does not answer in time is not waited for, nor asked again before it does. If it commits
        the fact after all, replaying it changes nothing. What fails by itself the journal will set aside, for a
        person to look at; or else it is raised. Raises OSError if neither takes it.
        """
        fact = FACTS[name]
        if not self._unanswered:
            writing = asyncio.ensure_future(self.write(lambda connection: fact.apply(connection, value)))
            done, _ = await asyncio.wait({writing}, timeout=PATIENCE_S)
            error = writing.exception() if done else None
            if done and error is None:
                self._remember(name, value if journaled is None else journaled)
                return
            if error and not errors.is_database_fault(error) and not isinstance(error, NotYetError):
                if raises_faults:
                    raise error
                log.fault_trace(name, "", errors.trace(error))
            log.journaled(name, errors.describe(error) if error else "slow")
            if not done:
                self._unanswered.add(writing)
                writing.add_done_callback(self._answered)
        await asyncio.to_thread(
            self.journal.append, name, fact.veil(self.people, value if journaled is None else journaled)
        )

    def _remember(self, name: str, value: object) -> None:
        if self._writing.dialect.name != "sqlite":
            return
        octets = value.octets if isinstance(value, deliveries.Filing) and value.octets else b""
        self._recent.add(name, value, len(octets))
        if engine.is_damaged(self._writing):  # this commit had begun before that was known
            self._rescue()

    def _look_for_damage(self, context: sa.engine.ExceptionContext) -> None:
        if errors.is_damage(context.original_exception):
            self._rescue()

    def _rescue(self) -> None:
        """Journals what was committed just now: with the backup in place it is replayed, and changes nothing twice."""
        facts = [(name, FACTS[name].veil(self.people, value)) for name, value in self._recent.take()]
        if not facts:
            return
        try:
            self.journal.append_all(facts)
        except OSError as error:
            log.lost(f"{len(facts)} facts", errors.describe(error))

    def _answered(self, writing: "asyncio.Future[None]") -> None:
        self._unanswered.discard(writing)
        _heard(writing)

    async def commit(self, facts: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:  # Any: as in Fact
        """Commits facts together. Returns those that must wait in the journal; raises Away if the database does not
        answer in time."""
        writing = asyncio.ensure_future(self.write(lambda connection: _apply(connection, facts)))
        done, _ = await asyncio.wait({writing}, timeout=PATIENCE_S)
        if done and writing.exception() is None:
            return writing.result()
        error = writing.exception() if done else None
        writing.cancel()  # what has not begun need not; what commits after all is replayed without effect
        writing.add_done_callback(_heard)
        if error and not errors.is_database_fault(error):
            log.fault_trace("facts", facts[0][0], errors.trace(error))
        log.journaled(facts[0][0], errors.describe(error) if error else "slow")
        raise Away

    async def journal_all(self, facts: Sequence[tuple[str, Any]]) -> None:
        """Puts facts on disk. Raises OSError."""
        if facts:
            await asyncio.to_thread(self.journal.append_all, facts)

    async def find_journaled(self, name: str) -> list[bytes]:
        """The facts of that kind that wait in the journals of this machine, as they are written there."""
        return await asyncio.to_thread(self.journal.lines, name) if self.journal.waits else []

    async def replay(self) -> None:
        """Commits what the journal holds. Raises sqlalchemy.exc.SQLAlchemyError while the database is away, OSError."""
        with self.journal.claimed() as paths:
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
                if not is_done:  # what is not known yet will not be known in two seconds either
                    self._not_before[path] = time.monotonic() + LATER_S

    async def _replay_file(self, path: Path) -> bool:
        """False if lines are left for later."""
        lines = (await asyncio.to_thread(path.read_bytes)).splitlines()
        stays = Replayed([], [])
        for at in range(0, len(lines), REPLAYED_TOGETHER):
            chunk = lines[at : at + REPLAYED_TOGETHER]
            done = await self.write(lambda connection, chunk=chunk: _replay(self.journal, connection, chunk))  # type: ignore[misc]
            stays.later.extend(done.later)
            stays.bad.extend(done.bad)
        self.journal.settle(path, stays)
        return not stays.later

    def checkpoint(self) -> None:
        """Moves what SQLite's write-ahead log holds into the database, and empties it: old rows lie in there as they
        were. Where readers hold it up, the next call does it. Raises sqlalchemy.exc.SQLAlchemyError."""
        if self._writing.dialect.name == "sqlite":
            with contextlib.closing(self._writing.raw_connection()) as connection:
                cursor = connection.cursor()
                cursor.execute(f"PRAGMA busy_timeout={_CHECKPOINT_MS}")
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Commits what was submitted and lets go of the database."""
        self.writer.close()
        self._prompt.close()
        self._readers.shutdown(wait=False, cancel_futures=True)  # it may hang
        self._reading.dispose()
        self._writing.dispose()


def _apply(connection: sa.Connection, facts: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Commits all, or else each by itself. Returns those that are to wait in the journal."""
    with verdicts.together(connection):
        try:
            with connection.begin_nested():  # one savepoint for all: each costs as much as a statement
                for name, value in facts:
                    FACTS[name].apply(connection, value)
        except Exception as error:
            if errors.is_database_fault(error):
                raise
            return _apart(connection, facts)  # one fact's fault: find out whose, and spare the others
    return []


def _apart(connection: sa.Connection, facts: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    later = []
    for name, value in facts:
        try:
            with connection.begin_nested():
                FACTS[name].apply(connection, value)
        except Exception as error:
            if errors.is_database_fault(error):
                raise
            # One fact must not stop the others: the journal says what is wrong with it.
            later.append((name, value))
    return later


def _replay(journal: Journal, connection: sa.Connection, lines: list[bytes]) -> Replayed:
    with verdicts.together(connection):
        return journal.replay(connection, lines)


def _heard(writing: "asyncio.Future[Any]") -> None:
    # Whatever became of it, the journal has the fact; asyncio wants its exception looked at.
    if not writing.cancelled():
        writing.exception()


def prepare(database_url: str) -> None:
    """Makes or migrates the database. Raises migrate.TooNew, sqlalchemy.exc.SQLAlchemyError."""
    reading = engine.open_engine(database_url, writes=False)
    try:
        with contextlib.suppress(sa.exc.OperationalError):  # there is none yet
            if migrate.is_current(reading):
                return  # nobody who only looks waits for the server's writes
    finally:
        reading.dispose()
    writing = engine.open_engine(database_url, writes=True, creates=True)
    try:
        migrate.upgrade(writing)
    finally:
        writing.dispose()
