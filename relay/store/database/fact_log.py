"""Facts on disk before they are in the database: an answer need not wait for a commit, and a crash loses no fact.

The log of a process is a file beside the journal, in the same format, and locked while the process lives. Facts are
appended and forced to disk together; then they are committed from memory. A file whose facts are all committed is
overwritten. Facts that a process does not commit itself, because it ends or the database is away, are replayed like a
journal.

A new file is filled with zeros, and lines overwrite them: otherwise each force would also write metadata, which takes
four times as long.
"""

import contextlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from relay.store.database import journal
from relay.store.database.journal import LoadFacts

SUFFIX = ".live"
_ZEROS = bytes(1 << 20)  # a new file
_MAX_FILE = (
    16 << 20
)  # octets; then a new file is begun: under load there may be no moment in which all facts are committed


class LogFile:
    """A file of the log, and how many of its facts are still to be committed."""

    def __init__(self, path: Path, file: int) -> None:
        self.path = path
        self.file = file
        self.size = 0
        self.pending = 0
        self.is_to_be_replayed = False  # some of its facts will not be committed from memory

    def reserve(self, octets: int, facts: int) -> int:
        """Counts facts that are to be written. Returns the offset at which they are written."""
        start = self.size
        self.size += octets
        self.pending += facts
        return start


class FactLog:
    """The log of one process. One thread appends; the rest may run on the event loop, and never waits for the disk."""

    def __init__(self, directory: Path, load_facts: LoadFacts) -> None:
        self._directory = directory
        self._load_facts = load_facts
        self._lock = threading.Lock()  # of the counts; it is not held while the disk, which may hang, is forced
        self._current: LogFile | None = None

    def append(self, facts: Sequence[tuple[str, object]]) -> LogFile:
        """Puts facts on disk. Raises OSError if the disk refuses them, and then none is kept."""
        lines = journal.to_lines(self._load_facts(), facts)
        log_file, start = self._reserve(len(lines), len(facts))
        try:
            if os.pwrite(log_file.file, lines, start) != len(lines):
                raise OSError("the disk is full")
            os.fdatasync(log_file.file)
        except OSError:
            os.ftruncate(log_file.file, start)
            with self._lock:
                log_file.size = start
                log_file.pending -= len(facts)
                if start and log_file is self._current:  # the file may have become too large for its disk
                    self._current = None
                self._finish(log_file)
            raise
        return log_file

    def _reserve(self, octets: int, facts: int) -> tuple[LogFile, int]:
        """The file for so many octets and facts, and where they are to stand. While they are pending nobody else
        empties or closes it."""
        with self._lock:
            current = self._current
            if current is not None and current.size + octets <= _MAX_FILE:
                return current, current.reserve(octets, facts)
        opened = self._open_file()
        with self._lock:
            previous, self._current = self._current, opened
            if previous is not None:
                self._finish(previous)
            return opened, opened.reserve(octets, facts)

    def mark_committed(self, log_file: LogFile, count: int) -> None:
        """So many of the file's facts are in the database."""
        with self._lock:
            log_file.pending -= count
            self._finish(log_file)

    def leave_to_replay(self, log_file: LogFile, count: int) -> None:
        """So many of the file's facts are not committed from memory: they are replayed from the file. A fact that was
        committed nevertheless is recognised by its id."""
        with self._lock:
            log_file.pending -= count
            log_file.is_to_be_replayed = True
            self._finish(log_file)

    def release(self) -> None:
        """Unlocks the file, so that it is replayed, if facts in it are to be replayed."""
        with self._lock:
            current = self._current
            if current and current.is_to_be_replayed:
                self._current = None
                self._finish(current)

    def close(self) -> None:
        """Unlocks the file: facts that are left in it are replayed."""
        with self._lock:
            if self._current is not None:
                os.close(self._current.file)
                self._current = None

    def _open_file(self) -> LogFile:
        path, file = journal.create_locked(self._directory, SUFFIX)
        with contextlib.suppress(OSError):  # if the disk does not take all of it, the facts may fit
            os.pwrite(file, _ZEROS, 0)
        return LogFile(path, file)

    def _finish(self, log_file: LogFile) -> None:
        """Once no fact in the file is needed: empties it, or removes it if it is not the current one. What a disk that
        fails leaves in it is replayed, and changes nothing twice."""
        if log_file.pending:
            return
        if log_file is self._current:
            if log_file.is_to_be_replayed or not log_file.size:
                return
            try:
                os.pwrite(log_file.file, bytes(min(log_file.size, len(_ZEROS))), 0)
                os.ftruncate(log_file.file, len(_ZEROS))
            except OSError:
                self._current = None
            else:
                log_file.size = 0
                return
        with contextlib.suppress(OSError):
            if log_file.is_to_be_replayed:
                os.ftruncate(log_file.file, log_file.size)
                log_file.path.rename(log_file.path.with_suffix(journal.SUFFIX))
            else:
                log_file.path.unlink()
        os.close(log_file.file)
