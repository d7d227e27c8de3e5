"""Facts that could not be committed wait here, on disk, and are replayed in order.

A journal is a folder of files, one a process, each line `{"fact": NAME, "value": …}`, forced to disk
when it is written. Replaying is harmless twice: every fact carries its own id.
"""

import fcntl
import json
import os
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from pydantic import TypeAdapter

from relay import ids

# A hit whose message stays unknown this long is of a message that has expired.
_PATIENCE = timedelta(days=7)


class Fact(NamedTuple):
    """A kind of fact: how its value is written, and the store function that commits it."""

    form: TypeAdapter[Any]  # Any: each kind has its own type, which only `apply` needs to know
    apply: Callable[[sa.Connection, Any], None]


class Journal:
    """The journal of one process. Its methods may be called from any thread."""

    def __init__(self, directory: Path, facts: Mapping[str, Fact]) -> None:
        self._directory = directory
        self._facts = facts
        self._lock = threading.Lock()
        self._file: int | None = None
        self._path = directory

    def append(self, name: str, value: object) -> None:
        """Puts a fact on disk. Raises OSError if the disk refuses it, and then nothing is kept."""
        line = json.dumps({"fact": name, "value": self._facts[name].form.dump_python(value, mode="json")})
        with self._lock:
            if self._file is None:
                self._open()
            assert self._file is not None
            end = os.fstat(self._file).st_size
            octets = line.encode() + b"\n"
            try:
                if os.write(self._file, octets) != len(octets):
                    raise OSError("the journal's disk is full")
                os.fsync(self._file)
            except OSError:
                os.ftruncate(self._file, end)
                raise

    def _open(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = self._directory / f"{ids.new()}.jsonl"
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)  # held for as long as the process writes to it

    def claim(self) -> list[Path]:
        """Files to replay, oldest first: our own so far, and those that dead processes left."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None
        return [path for path in sorted(self._directory.glob("*.jsonl")) if _is_free(path)]

    @property
    def waits(self) -> bool:
        """True if there may be something to replay."""
        return self._directory.is_dir() and any(self._directory.glob("*.jsonl"))

    def replay(self, session: sa.Connection, path: Path) -> list[bytes]:
        """Commits a file's facts with the session. Returns the lines that cannot be committed yet.

        The caller deletes the file after its commit (`settle`).
        """
        later: list[bytes] = []
        for line in path.read_bytes().splitlines():
            try:
                row = json.loads(line)
                fact = self._facts[row["fact"]]
                value = fact.form.validate_python(row["value"], strict=False)
            except (ValueError, KeyError, TypeError):
                continue  # torn by a crash in mid-write: it was never promised
            try:
                with session.begin_nested():
                    fact.apply(session, value)
            except LookupError:
                if datetime.now(UTC) - ids.time_of(path.stem) < _PATIENCE:
                    later.append(line)
        return later

    def settle(self, path: Path, later: list[bytes]) -> None:
        """After the commit: the file goes, but for what must wait on."""
        if later:
            draft = path.with_suffix(".draft")
            draft.write_bytes(b"\n".join(later) + b"\n")
            draft.replace(path)
        else:
            path.unlink(missing_ok=True)


def _is_free(path: Path) -> bool:
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True
