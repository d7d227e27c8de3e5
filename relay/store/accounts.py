"""Who may use the console. Passwords are kept as argon2id hashes (RFC 9106)."""

from datetime import datetime

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from relay.store import tables

_HASHER = PasswordHasher()
# Verified when there is no such account, so that the answer takes as long as for a wrong password.
_NOBODY = _HASHER.hash("nobody")


def put(session: sa.Connection, name: str, password: str, at: datetime) -> None:
    """Makes an account, or gives an existing one a new password."""
    table = tables.account
    session.execute(sa.delete(table).where(table.c.name == name))
    session.execute(sa.insert(table), {"name": name, "password_hash": hash_password(password), "created_at": at})


def any_exist(session: sa.Connection) -> bool:
    return session.scalar(sa.select(tables.account.c.name).limit(1)) is not None


def password_hash(session: sa.Connection, name: str) -> str | None:
    found: str | None = session.scalar(sa.select(tables.account.c.password_hash).where(tables.account.c.name == name))
    return found


def hash_password(password: str) -> str:
    return _HASHER.hash(password)


def verify(stored: str | None, password: str) -> bool:
    """True if the password is the one of the hash. Takes tens of milliseconds: not on an event loop."""
    try:
        return _HASHER.verify(stored or _NOBODY, password) and stored is not None
    except (VerificationError, InvalidHashError):
        return False
