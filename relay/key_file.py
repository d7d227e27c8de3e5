"""The file of the installation's keys, `keys.json`.

In: a path.  Out: its keys, the revoked keys with their times, and secrets that outlive their key. The file is replaced
as a whole and forced to disk, so that no reader sees half of it.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from relay import durable_files

SECRET_OCTETS = 32
MAX_ID = 255


@dataclass(frozen=True, slots=True)
class MasterKey:
    """A master secret. `id` is 0 to 255 and stands in every token made with it."""

    id: int
    created: datetime
    secret: bytes


class RevokedKey(NamedTuple):
    """A key without its secret."""

    id: int
    created: datetime
    revoked: datetime


class KeyFile(NamedTuple):
    """Keys, oldest first, and revoked ones; `lasting_secrets`: derived secrets, by purpose, that never change."""

    keys: tuple[MasterKey, ...]
    revoked: tuple[RevokedKey, ...] = ()
    lasting_secrets: Mapping[str, bytes] = {}

    def new_key(self) -> MasterKey:
        """A key with an id that none had before. Raises ValueError where the ids are used up."""
        last = max((*(key.id for key in self.keys), *(key.id for key in self.revoked)), default=0)
        if last >= MAX_ID:
            raise ValueError(f"key ids are used up ({MAX_ID})")
        return MasterKey(last + 1, current_second(), secrets.token_bytes(SECRET_OCTETS))


def current_second() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def file_stamp(path: Path | None) -> tuple[int, int] | None:
    """A value that changes when the file is replaced; None if there is no file."""
    try:
        status = path.stat() if path else None
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_ino) if status else None


def read_keys(path: Path) -> KeyFile:
    """Raises OSError, and ValueError for a damaged file."""
    try:
        return parse_keys(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def parse_keys(octets: bytes) -> KeyFile:
    """The content of a file. Raises ValueError for a damaged one."""
    try:
        rows = json.loads(octets)
        contents = KeyFile(
            tuple(
                MasterKey(int(row["id"]), _time(row["created"]), bytes.fromhex(row["secret"])) for row in rows["keys"]
            ),
            tuple(
                RevokedKey(int(row["id"]), _time(row["created"]), _time(row["revoked"]))
                for row in rows.get("revoked", ())
            ),
            {purpose: bytes.fromhex(secret) for purpose, secret in rows.get("lasting", {}).items()},
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a key file ({error})") from None
    sound = all(len(key.secret) == SECRET_OCTETS and 0 <= key.id <= MAX_ID for key in contents.keys)
    if (
        not contents.keys
        or not sound
        or any(len(secret) != SECRET_OCTETS for secret in contents.lasting_secrets.values())
    ):
        raise ValueError("not a key file")
    return contents


def write_keys(path: Path, contents: KeyFile, *, only_if_absent: bool = False) -> None:
    """Replaces the file. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if durable_files.write(path, encode_keys(contents), only_if_absent=only_if_absent):  # else another was first
        durable_files.sync_folder(path.parent)


def encode_keys(contents: KeyFile) -> bytes:
    """The content of the file that holds them."""
    rows: dict[str, object] = {
        "keys": [
            {"id": key.id, "created": key.created.isoformat(), "secret": key.secret.hex()} for key in contents.keys
        ]
    }
    if contents.revoked:
        rows["revoked"] = [
            {"id": key.id, "created": key.created.isoformat(), "revoked": key.revoked.isoformat()}
            for key in contents.revoked
        ]
    if contents.lasting_secrets:
        rows["lasting"] = {purpose: secret.hex() for purpose, secret in contents.lasting_secrets.items()}
    return json.dumps(rows, indent=1).encode("utf-8")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
