"""Restore a backup: its archive is checked, and put into the data directory as a whole.

In: a configuration and an archive that `backup` made.  Out: a data directory from which the next start goes on. What
was there before is moved into a folder beside it, not deleted.
"""

import contextlib
import json
import os
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from relay import durable_files
from relay.config.schema import Config
from relay.node import backup, data_directory
from relay.node.backup import BackupError, Manifest, Progress
from relay.store.database import engine
from relay.store.queue import content_files

_MAX_MANIFEST_OCTETS = 1 << 16
_BLOCK_OCTETS = 1 << 20


class RestoreResult(NamedTuple):
    """What was restored, and where that is which was there before, if anything was."""

    manifest: Manifest
    replaced: Path | None


def restore_backup(
    config: Config, source: Path, *, replaces: bool, progress: Progress = lambda *_: None
) -> RestoreResult:
    """Restores the archive; with `replaces`, over an installation that is there. Raises OperatorError."""
    directory = config.relay.data_dir
    try:
        with source.open("rb") as file:
            data_directory.become_owner(config)
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            with contextlib.ExitStack() as locks:
                for role in data_directory.ROLES:
                    locks.enter_context(data_directory.role_lock(config, role))
                there = _list_replaced(config)
                if there and not replaces:
                    raise BackupError(
                        f"there is an installation in {directory} already ({there[0].name}); "
                        "--replace moves it into a folder beside the restored one"
                    )
                return _restore_file(config, file, progress)
    except (OSError, EOFError, tarfile.TarError, sqlite3.Error) as error:
        raise BackupError(f"cannot restore {source}: {getattr(error, 'strerror', None) or error}") from None


def _restore_file(config: Config, file: BinaryIO, progress: Progress) -> RestoreResult:
    directory = config.relay.data_dir
    draft = directory / f".restore-{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    try:
        manifest = _extract(file, draft, progress)
        _check_draft(config, manifest, draft)
        replaced = _move_away(config)
        database = backup.database_file(config)
        for path in sorted(draft.iterdir()):
            if database and path.name == engine.DATABASE_FILE:
                path.rename(database)
            else:
                is_beside = database and path.name == content_files.FOLDER
                path.rename((database.parent if database and is_beside else directory) / path.name)
        durable_files.sync_folder(directory)
        return RestoreResult(manifest, replaced)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _extract(file: BinaryIO, draft: Path, progress: Progress) -> Manifest:
    size = os.fstat(file.fileno()).st_size
    manifest: Manifest | None = None
    with tarfile.open(fileobj=file, mode="r|*") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is None:
                raise BackupError(f"not a backup of Waypost: {member.name} is no file")
            if manifest is None:
                if member.name != backup.MANIFEST or member.size > _MAX_MANIFEST_OCTETS:
                    raise BackupError("not a backup of Waypost: it has no manifest")
                manifest = _read_manifest(content.read())
                continue
            with _create(draft, member.name) as target:
                while block := content.read(_BLOCK_OCTETS):
                    target.write(block)
                    progress(min(file.tell(), size), size)
    if manifest is None:
        raise BackupError("not a backup of Waypost: it is empty")
    return manifest


def _read_manifest(octets: bytes) -> Manifest:
    try:
        about = json.loads(octets)
        if about["waypost_backup"] > backup.FORMAT:
            raise BackupError(f"the backup was made by a later version of Waypost ({about['version']})")
        return Manifest(str(about["version"]), datetime.fromisoformat(about["made_at"]), str(about["database"]))
    except (KeyError, TypeError, ValueError) as error:
        raise BackupError(f"not a backup of Waypost: its manifest cannot be read ({error})") from None


@contextlib.contextmanager
def _create(draft: Path, name: str) -> Iterator[BinaryIO]:
    """A new file below the folder, forced to disk at the end."""
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts:
        raise BackupError(f"not a backup of Waypost: it would write to {name}")
    target = draft / path
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123
        yield file
        file.flush()
        os.fsync(file.fileno())


def _check_draft(config: Config, manifest: Manifest, draft: Path) -> None:
    if not (draft / data_directory.KEYS_FILE).is_file():
        raise BackupError("not a backup of Waypost: it has no keys")
    database = draft / engine.DATABASE_FILE
    if database.is_file() != (backup.database_file(config) is not None):
        raise BackupError(
            f"the backup is of an installation with {manifest.database}; [database] url names another kind of database"
        )
    if database.is_file():
        with contextlib.closing(sqlite3.connect(database)) as connection:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != ("ok",):
            raise BackupError(f"the database in the backup is damaged: {found[0]}")


def _list_replaced(config: Config) -> list[Path]:
    """What a restore would replace."""
    directory, database = config.relay.data_dir, backup.database_file(config)
    found = [Path(f"{database}{ending}") for ending in backup.DATABASE_ENDINGS] if database else []
    journal = directory / backup.JOURNAL
    found += [database.parent / content_files.FOLDER] if database and database.parent != directory else []
    found += backup.list_installed(directory)
    found += [journal] if journal.is_dir() and any(journal.iterdir()) else []
    return [path for path in found if path.exists()]


def _move_away(config: Config) -> Path | None:
    there = _list_replaced(config)
    if not there:
        return None
    folder = config.relay.data_dir / f"{backup.REPLACED}{datetime.now(UTC):%Y%m%dT%H%M%S}"
    folder.mkdir(mode=0o700)
    for path in there:
        path.rename(folder / path.name)
    return folder
