"""A backup of an installation in one file, made while it runs.

In: a configuration and a path.  Out: a tar archive that its owner alone may read, with a manifest, the SQLite database
(copied by SQLite's backup API out of one snapshot), the keys, the journal and all other files of the data directory.

The journal is copied before the database: a fact that is replayed meanwhile is then in both, which changes nothing,
since each fact carries its own id. Files that rows of the database refer to are copied behind it, since they are
written before the rows.
"""

import contextlib
import io
import json
import os
import sqlite3
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import quote

from relay import __version__, durable_files
from relay.config.schema import Config
from relay.node import data_directory
from relay.operator_error import OperatorError
from relay.store import node_name
from relay.store.database import engine
from relay.store.queue import content_files

MANIFEST = "manifest.json"
FORMAT = 1
REPLACED = "replaced-"  # the folders into which a restore moves what was there
JOURNAL = "journal"
DATABASE_ENDINGS = ("", "-wal", "-shm", "-journal")
_DATABASE_FILES = tuple(engine.DATABASE_FILE + ending for ending in DATABASE_ENDINGS)
_PAGES_A_STEP = 2000  # of the database, between two reports of progress

Progress = Callable[[int, int], None]  # pages or octets that are done, and all


class BackupError(OperatorError):
    """The backup cannot be made or restored; the text says why."""


class Manifest(NamedTuple):
    """What an archive says of itself."""

    version: str  # of Waypost
    made_at: datetime
    database: str  # sqlite; or postgresql, which is not in the archive


def write_backup(config: Config, target: Path, progress: Progress = lambda *_: None) -> Manifest:
    """Writes the archive beside its place, and gives it its name when it is whole. Raises BackupError."""
    directory = config.relay.data_dir
    if not (directory / data_directory.KEYS_FILE).is_file():
        raise BackupError(f"there is no installation in [relay] data_dir {directory}: nothing to back up")
    database = database_file(config)
    manifest = Manifest(__version__, datetime.now(UTC), "sqlite" if database else "postgresql")
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123
            is_packed = target.suffix in (".gz", ".tgz")
            with tarfile.open(fileobj=file, mode="w:gz" if is_packed else "w") as archive:
                _add_octets(archive, MANIFEST, _manifest_octets(manifest))
                _add_files(archive, directory, [directory / JOURNAL])
                if database:
                    _add_database(archive, database, target.parent, progress)
                _add_files(archive, directory, list_installed(directory))
                if database and database.parent != directory:
                    _add_files(archive, database.parent, [database.parent / content_files.FOLDER])
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
        durable_files.sync_folder(target.parent)
    except (OSError, sqlite3.Error) as error:
        raise BackupError(f"cannot write {target}: {getattr(error, 'strerror', None) or error}") from None
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
    return manifest


def database_file(config: Config) -> Path | None:
    """The SQLite database's file; None if the database is another one."""
    url = data_directory.database_url(config)
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def list_installed(directory: Path) -> list[Path]:
    """What belongs to the installation beside the database and the journal: the keys, and files that rows refer to."""
    return sorted(
        path
        for path in directory.iterdir()
        if path.name not in (*_DATABASE_FILES, JOURNAL, node_name.FILE)
        and path.suffix != ".lock"
        and not path.name.startswith((".", REPLACED))
    )


def copy_database(source: Path, target: Path, progress: Progress) -> None:
    """Copies one snapshot of a database that may be written to meanwhile. Raises sqlite3.Error."""
    reading = sqlite3.connect(f"file:{quote(str(source))}?mode=ro", uri=True, timeout=engine.BUSY_TIMEOUT_S)
    with contextlib.closing(reading), contextlib.closing(sqlite3.connect(target)) as writing:
        reading.isolation_level = None
        # With a snapshot held, a commit of another process does not make the copy begin again.
        reading.execute("BEGIN")
        reading.execute("SELECT count(*) FROM sqlite_master").fetchone()
        reading.backup(
            writing,
            pages=_PAGES_A_STEP,
            sleep=0,
            progress=lambda _, left, count: progress(count - left, count),
        )
        reading.execute("ROLLBACK")
        writing.execute("PRAGMA journal_mode=DELETE")  # one file, whole by itself


def _manifest_octets(manifest: Manifest) -> bytes:
    about = {"waypost_backup": FORMAT} | manifest._asdict()
    return json.dumps(about | {"made_at": manifest.made_at.isoformat(timespec="seconds")}, indent=1).encode()


def _add_database(archive: tarfile.TarFile, path: Path, room: Path, progress: Progress) -> None:
    with tempfile.TemporaryDirectory(prefix=".waypost-backup-", dir=room) as folder:
        copy = Path(folder) / engine.DATABASE_FILE
        copy_database(path, copy, progress)
        archive.add(copy, engine.DATABASE_FILE, filter=_as_owners)


def _add_files(archive: tarfile.TarFile, directory: Path, roots: list[Path]) -> None:
    for path in (path for root in roots for path in sorted(_files_below(root))):
        # A file that is gone was replayed, or has expired. A link to somewhere else is not followed.
        with contextlib.suppress(FileNotFoundError), _open_here(path) as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                about = _as_owners(archive.gettarinfo(arcname=str(path.relative_to(directory)), fileobj=file))
                archive.addfile(about, _FixedSize(file, about.size))


def _open_here(path: Path) -> BinaryIO:
    return open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")  # noqa: PTH123


def _files_below(root: Path) -> Iterator[Path]:
    if root.is_file() and not root.is_symlink():
        yield root
        return
    for folder, _, names in os.walk(root):
        yield from (path for name in names if not (path := Path(folder) / name).is_symlink())


class _FixedSize(io.RawIOBase):
    """Reads a file at the size that it had when its size was read. Later octets are left out; where the file was cut
    since, zeros take the place of the rest, as at the end of a journal."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._octets_left = size

    def read(self, size: int = -1) -> bytes:
        wanted = self._octets_left if size < 0 else min(size, self._octets_left)
        found = self._file.read(wanted)
        self._octets_left -= wanted
        return found + bytes(wanted - len(found))


def _add_octets(archive: tarfile.TarFile, name: str, octets: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(octets)
    entry.mtime = int(datetime.now(UTC).timestamp())
    archive.addfile(_as_owners(entry), io.BytesIO(octets))


def _as_owners(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o600
    return entry
