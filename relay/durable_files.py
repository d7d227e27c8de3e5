"""Write files that survive a power cut: written as a whole, forced to disk, and only then renamed.

In: a path and octets.  Out: a file that only its owner may read, or an OSError and nothing.
"""

import os
import secrets
from pathlib import Path


def write(path: Path, octets: bytes, *, only_if_absent: bool = False) -> bool:
    """Replaces the file; its name is durable once `sync_folder` has returned. False if it was to be absent and is not.
    Raises OSError."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(6)}")
    try:
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            if os.write(file, octets) != len(octets):
                raise OSError("the disk is full")
            os.fsync(file)
        finally:
            os.close(file)
        if not only_if_absent:
            draft.replace(path)
            return True
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
        return True
    finally:
        draft.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Forces the names in a folder to disk. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
