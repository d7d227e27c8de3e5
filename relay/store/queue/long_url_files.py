"""Destinations too long for a URL (docs/architecture.md#long-destinations): kept for tokens that only refer to them.

In: references, as `tokens.KeyRing.reference_for` makes them, and URLs.  Out: files, one a destination, which links are
answered from with the database away; and the rows of `long_urls`, for other machines. Name and key of each are derived
from its reference, which stands encrypted in the mail's tokens: without one, nobody reads, finds or changes it here.
AES-SIV (RFC 5297), HKDF (RFC 5869).
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from relay import durable_files, key_derivation

FOLDER = "destinations"
MAX_LONG_URLS = 500  # of one message: each is forced to disk by itself
_MAX_CACHED = 1000  # destinations, 8 KB each at most
_NAME_OCTETS = 16
_KEY_PURPOSE = b"waypost/1/destination/"
LongUrlRows = tuple[tuple[str, bytes], ...]  # name and sealed URL


def file_name(reference: bytes) -> str:
    """The name of the file with the destination."""
    return key_derivation.derive_key(reference, _KEY_PURPOSE + b"name", _NAME_OCTETS).hex()


def encrypt_url(reference: bytes, url: bytes) -> bytes:
    """The stored octets: the same each time."""
    return _cipher(reference).encrypt(url, None)


def decrypt_url(reference: bytes, sealed: bytes) -> bytes | None:
    """The URL; None if the octets were changed."""
    try:
        return _cipher(reference).decrypt(sealed, None)
    except (InvalidTag, ValueError):
        return None


def _cipher(reference: bytes) -> AESSIV:
    return key_derivation.derive_cipher(reference, _KEY_PURPOSE + b"key")


class LongUrlFiles:
    """The files of one data directory. Its methods may be called from any thread and several processes."""

    def __init__(self, data_dir: Path) -> None:
        self._directory = data_dir / FOLDER
        self._memory: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def save(self, urls: Mapping[bytes, bytes]) -> LongUrlRows:
        """Puts destinations, by reference, on disk. Returns them as rows, by name. Raises OSError."""
        rows: list[tuple[str, bytes]] = []
        folders: set[Path] = set()
        for reference, url in urls.items():
            name, sealed = file_name(reference), encrypt_url(reference, url)
            path = self._path(name)
            if not _touch_existing(path, len(sealed)):
                if not path.parent.is_dir():
                    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                    folders.add(self._directory)
                durable_files.write(path, sealed)
            rows.append((name, sealed))
            folders.add(path.parent)
        for folder in folders:  # also where another process has just written: its own may still be to come
            durable_files.sync_folder(folder)
        return tuple(rows)

    def find(self, reference: bytes) -> bytes | None:
        """The URL; None if no file of ours has it."""
        with self._lock:
            if reference in self._memory:
                self._memory.move_to_end(reference)
                return self._memory[reference]
        try:
            url = decrypt_url(reference, self._path(file_name(reference)).read_bytes())
        except OSError:
            return None
        if url is not None:
            with self._lock:
                self._memory[reference] = url
                if len(self._memory) > _MAX_CACHED:
                    self._memory.popitem(last=False)
        return url

    def delete_older(self, before: datetime) -> int:
        """Deletes what no mail has been sent with since then. Returns how many. Raises OSError."""
        gone = 0
        for path in self._directory.glob("??/*"):
            if not _is_older(path, before):
                continue
            # A process that needs the file now either finds it gone and writes it again, or touches it, and then
            # the second check of its age keeps it.
            aside = path if path.suffix else path.with_suffix(".old")
            path.rename(aside)
            if _is_older(aside, before):
                aside.unlink(missing_ok=True)
                gone += not path.suffix
            else:
                aside.rename(path)
        return gone

    def _path(self, name: str) -> Path:
        return self._directory / name[:2] / name


def _touch_existing(path: Path, size_octets: int) -> bool:
    """True if the file exists already; its time is set to now."""
    try:
        os.utime(path)
        return path.stat().st_size == size_octets
    except FileNotFoundError:
        return False


def _is_older(path: Path, before: datetime) -> bool:
    try:
        return path.stat().st_mtime < before.timestamp()
    except FileNotFoundError:
        return False
