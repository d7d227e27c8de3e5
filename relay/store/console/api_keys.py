"""Keys of the JSON API, with what they may do and until when.

A key is 256 random bits, which nobody can guess, so a fast hash is enough: its SHA-256 is stored.
"""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from relay.store.database import console_tables

ALL = "*"
READ = "read"  # may read everything
WRITE = "write"  # may change each of RESOURCES
RESOURCES = ("messages", "suppressions", "queue", "consent", "pixels", "webhooks")  # each may be read and changed
METRICS = "metrics"  # to read /metrics, which is no resource of the API
AUDIT = "audit"  # to read who changed what
SCOPES = (READ, WRITE, *RESOURCES, METRICS, AUDIT)
_PREFIX = "wp_"  # so that people and scanners recognise a key that has leaked
_NOTE_USE_AFTER = timedelta(minutes=1)


class ApiKeyGrant(NamedTuple):
    """The key's name, and what it may do."""

    name: str
    scopes: frozenset[str]
    expires_at: datetime | None
    used_at: datetime | None

    def may(self, scopes: Sequence[str]) -> bool:
        """True if it has one of these scopes."""
        return ALL in self.scopes or not self.scopes.isdisjoint(scopes)

    def is_use_due(self, now: datetime) -> bool:
        """True if the stored time of use is more than a minute old."""
        return self.used_at is None or now - self.used_at >= _NOTE_USE_AFTER


def create_key(
    connection: sa.Connection,
    name: str,
    now: datetime,
    scopes: Sequence[str] = (ALL,),
    expires_at: datetime | None = None,
) -> str | None:
    """Makes a key and returns it, to be shown once; None if there is one of that name."""
    table = console_tables.api_key
    if connection.scalar(sa.select(table.c.name).where(table.c.name == name)):
        return None
    key = _PREFIX + secrets.token_urlsafe(32)
    row = {"name": name, "digest": _digest(key), "created_at": now, "scopes": list(scopes), "expires_at": expires_at}
    connection.execute(sa.insert(table), row)
    return key


def list_keys(connection: sa.Connection) -> Sequence[sa.RowMapping]:
    """The keys without their hashes, the oldest first."""
    table = console_tables.api_key
    shown = (table.c.name, table.c.scopes, table.c.created_at, table.c.expires_at, table.c.used_at)
    return connection.execute(sa.select(*shown).order_by(table.c.created_at, table.c.name)).mappings().all()


def revoke_key(connection: sa.Connection, name: str) -> bool:
    """Ends a key at once. False if there is none of that name."""
    table = console_tables.api_key
    return connection.execute(sa.delete(table).where(table.c.name == name)).rowcount > 0


def find_key(connection: sa.Connection, key: str) -> ApiKeyGrant | None:
    """The grant of that key, expired or not; None if it is no key of ours."""
    row = connection.execute(sa.select(console_tables.api_key).filter_by(digest=_digest(key))).mappings().first()
    return ApiKeyGrant(row["name"], frozenset(row["scopes"]), row["expires_at"], row["used_at"]) if row else None


def note_key_use(connection: sa.Connection, name: str, now: datetime) -> None:
    table = console_tables.api_key
    connection.execute(sa.update(table).where(table.c.name == name).values(used_at=now))


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
