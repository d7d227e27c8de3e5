"""Facts that could not be committed wait here, on disk, and are replayed in order.

A journal is a folder with a file for each process. Each line is the fact's name, a space, and its value as JSON, and is
forced to disk when it is written. Only the process that holds a file's lock may write to it or replay it. A fact may be
replayed twice, because it has its own id.
"""

import contextlib
import fcntl
import itertools
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from pydantic import TypeAdapter

from relay import durable_files, ids, log
from relay.store.database import savepoints
from relay.store.database.errors import NotStoredYetError
from relay.store.database.identities import IdentityPolicy

SUFFIX = ".jsonl"
_LIVE = "*.live"  # the files of `fact_log`: those that no process holds are replayed


class Fact(NamedTuple):
    """A kind of fact: how its value is written, the store function that commits it, and how it is redacted."""

    adapter: TypeAdapter[Any]  # Any: each kind has its own type, which only `apply` and `redact` need to know
    apply: Callable[[sa.Connection, Any], None]
    redact: Callable[[IdentityPolicy, Any], Any] = lambda _, value: value
    salvage: Callable[[sa.Connection, Any], None] = lambda _connection, _value: None  # where `apply` fails by itself
    apply_all: Callable[[sa.Connection, Sequence[Any]], None] | None = None  # several at once; where it fails, each
    # The same of facts that are committed behind an answer, or replayed: some may be in the database already.
    apply_batch: Callable[[sa.Connection, Sequence[Any]], None] | None = None
    earlier_name: str = ""  # in the journal of an earlier version
    mail_octets: Callable[[Any], int] = lambda _value: 0  # the size of the mail in it


LoadFacts = Callable[[], Mapping[str, Fact]]  # the kinds by their names; called when the first fact comes


class RemainingLines(NamedTuple):
    """Lines that stay in the file: they cannot be committed yet, or never."""

    waiting: list[bytes]
    invalid: list[bytes]


class _InvalidLineError(Exception):
    """A line that is no fact of this version."""


class Journal:
    """The journal of one process. Its methods may be called from any thread."""

    def __init__(self, directory: Path, load_facts: LoadFacts) -> None:
        self._directory = directory
        self._load_facts = load_facts
        self._lock = threading.Lock()
        self._file: int | None = None

    def append(self, name: str, value: object) -> None:
        """Puts a fact on disk. Raises OSError if the disk refuses it, and then nothing is kept."""
        self.append_all([(name, value)])

    def append_all(self, facts: Sequence[tuple[str, object]]) -> None:
        """The same for several, all or none."""
        lines = to_lines(self._load_facts(), facts)
        with self._lock:
            if self._file is None:
                _, self._file = create_locked(self._directory, SUFFIX)
            end = os.fstat(self._file).st_size
            try:
                if os.pwrite(self._file, lines, end) != len(lines):
                    raise OSError("the journal's disk is full")
                os.fsync(self._file)
            except OSError:
                os.ftruncate(self._file, end)
                raise

    @property
    def has_pending(self) -> bool:
        """True if there may be something to replay, or to be committed by the process that logged it."""
        if not self._directory.is_dir():
            return False
        return any(self._directory.glob(f"*{SUFFIX}")) or any(map(_has_facts, self._directory.glob(_LIVE)))

    @property
    def has_mail(self) -> bool:
        """True if the database may lack mail that is here. The files of `fact_log` have hits only."""
        return any(self._directory.glob(f"*{SUFFIX}"))

    @contextlib.contextmanager
    def lock_files(self) -> Iterator[list[Path]]:
        """Files to replay, oldest first, locked meanwhile: our own so far, and those that dead processes left."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None
        locked: list[tuple[Path, int]] = []
        try:
            for path in sorted([*self._directory.glob(f"*{SUFFIX}"), *self._directory.glob(_LIVE)]):
                file = _open_locked(path)
                if file is not None:
                    locked.append((path, file))
            yield [path for path, _ in locked]
        finally:
            for _, file in locked:
                os.close(file)

    def remove_lines_with(self, word: str) -> int:
        """Takes the lines with that word, in any case, out of every file that no living process holds, and of those
        that can never be read. Returns how many."""
        removed = 0
        with self.lock_files() as paths:
            for path in [*paths, *self._directory.glob("*.bad")]:
                lines = read_lines(path)
                remaining = [line for line in lines if word.lower().encode() not in line.lower()]
                removed += len(lines) - len(remaining)
                if len(remaining) < len(lines):
                    durable_files.write(path, b"".join(line + b"\n" for line in remaining))
        if removed:
            durable_files.sync_folder(self._directory)
        return removed

    def mentions(self, word: str) -> bool:
        """Whether any file has that word, in any case; also one that a living process holds."""
        for path in self._directory.glob("*"):
            with contextlib.suppress(FileNotFoundError):  # replayed just now
                if word.lower().encode() in path.read_bytes().lower():
                    return True
        return False

    def find_lines(self, name: str) -> list[bytes]:
        """The facts of that kind that are still to be replayed, of all processes."""
        found: list[bytes] = []
        heads = tuple(one.encode() + b" " for one in (name, self._load_facts()[name].earlier_name) if one)
        for path in self._directory.glob(f"*{SUFFIX}"):
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:  # replayed just now
                found += (line for line in file if line.startswith(heads))
        return found

    def apply_lines(self, connection: sa.Connection, lines: list[bytes]) -> RemainingLines:
        """Commits the lines' facts with the connection. Returns those that stay."""
        remaining = RemainingLines([], [])

        def apply(line: bytes) -> None:
            fact, value = self._parse(line)
            fact.apply(connection, value)

        def set_aside(line: bytes, error: Exception) -> None:
            name = line.partition(b" ")[0].decode("ascii", "replace")
            if isinstance(error, NotStoredYetError):
                remaining.waiting.append(line)
                return
            remaining.invalid.append(line)
            if isinstance(error, _InvalidLineError):
                log.journal_line_invalid(name, type(error.__cause__).__name__)
                return
            log.fault("journal", name)
            log.journal_line_invalid(name, type(error).__name__)
            fact, value = self._parse(line)
            with contextlib.suppress(NotStoredYetError), savepoints.savepoint(connection):
                fact.salvage(connection, value)

        def apply_all(lines: Sequence[bytes]) -> None:
            apply_together(connection, [self._parse(line) for line in lines])

        savepoints.run_all_or_each(connection, lines, apply, set_aside, apply_all)
        return remaining

    def _parse(self, line: bytes) -> tuple[Fact, Any]:  # Any: as in Fact
        """Raises _InvalidLineError, whose cause says why."""
        head, _, value = line.partition(b" ")
        facts = self._load_facts()
        try:
            name = head.decode()
            fact = facts[name] if name in facts else _by_earlier_name(facts)[name]
            return fact, fact.adapter.validate_json(value)
        except (LookupError, ValueError) as error:
            raise _InvalidLineError from error

    def rewrite_file(self, path: Path, remaining: RemainingLines) -> None:
        """After the commit: removes the file, or keeps lines that must wait. Unreadable lines go to `.bad`, on disk
        before the file goes. Raises OSError."""
        if remaining.invalid:
            with path.with_suffix(".bad").open("ab") as file:
                file.write(b"\n".join(remaining.invalid) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            durable_files.sync_folder(self._directory)
        if remaining.waiting:
            durable_files.write(path, b"\n".join(remaining.waiting) + b"\n")
            durable_files.sync_folder(self._directory)
        else:
            path.unlink(missing_ok=True)


def apply_together(connection: sa.Connection, facts: Sequence[tuple[Fact, Any]]) -> None:  # Any: as in Fact
    """Applies facts in their order, those of a kind that follow each other at once where the kind allows it."""
    for apply_batch, group in itertools.groupby(facts, key=lambda one: one[0].apply_batch):
        if apply_batch:
            apply_batch(connection, [value for _, value in group])
        else:
            for fact, value in group:
                fact.apply(connection, value)


def _by_earlier_name(facts: Mapping[str, Fact]) -> dict[str, Fact]:
    return {fact.earlier_name: fact for fact in facts.values() if fact.earlier_name}


def read_lines(path: Path) -> list[bytes]:
    """The lines of a file, without their ends. Zeros behind them, and a line that was never whole, are none."""
    octets = path.read_bytes().rstrip(b"\0")
    return octets[: octets.rfind(b"\n") + 1].splitlines()


def to_lines(facts: Mapping[str, Fact], named_values: Sequence[tuple[str, object]]) -> bytes:
    """Facts as they stand in a file."""
    return b"".join(name.encode() + b" " + facts[name].adapter.dump_json(value) + b"\n" for name, value in named_values)


def create_locked(directory: Path, suffix: str) -> tuple[Path, int]:
    """A new file in the folder, open for writing, whose lock is ours. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = directory / f"{ids.new()}.new"
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)  # before it has a name that others look for
        path = path.rename(path.with_suffix(suffix))
        durable_files.sync_folder(directory)
    except OSError:
        os.close(file)
        raise
    return path, file


def _has_facts(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(1) not in (b"", b"\0")
    except FileNotFoundError:
        return False


def _open_locked(path: Path) -> int | None:
    """The file, open and locked; None if another process has it or has just dealt with it."""
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file).st_nlink:
            return file
    except BlockingIOError:
        pass
    os.close(file)
    return None
