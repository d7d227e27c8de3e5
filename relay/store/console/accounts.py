"""Who may use the console. Passwords are kept as argon2id hashes (RFC 9106)."""

import functools
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from relay.store.console import console_sessions
from relay.store.console.roles import AccountRole
from relay.store.database import console_tables

FIRST_ACCOUNT = "admin"  # the account that the first start makes
_HASHER = PasswordHasher()


def first_password_file(data_dir: Path) -> Path:
    """The file with that account's password: it is there from a start without a terminal until the first sign-in."""
    return data_dir / "first-password"


@functools.cache
def _dummy_hash() -> str:
    """A hash to verify if there is no such account, so that the answer takes as long as for a wrong password."""
    return _HASHER.hash("nobody")


def set_password(
    connection: sa.Connection, name: str, password: str, at: datetime, role: AccountRole | None = None
) -> None:
    """Makes an account, or gives an existing one a new password, which ends its sessions. Without a role an account
    keeps its own; a new one may do all."""
    table, stored = console_tables.account, hash_password(password)
    change = {"password_hash": stored, "subject": ""} | ({"role": str(role)} if role else {})
    console_sessions.end_sessions(connection, name)
    if not connection.execute(sa.update(table).where(table.c.name == name).values(**change)).rowcount:
        create_account(connection, name, stored, at, role or AccountRole.ADMIN)


def create_account(connection: sa.Connection, name: str, password_hash: str, at: datetime, role: AccountRole) -> bool:
    """Makes an account. False if there is one of that name."""
    table = console_tables.account
    if connection.scalar(sa.select(table.c.name).where(table.c.name == name)) is not None:
        return False
    row = {"name": name, "password_hash": password_hash, "created_at": at, "role": role}
    connection.execute(sa.insert(table), row)
    return True


def note_external_account(connection: sa.Connection, name: str, subject: str, role: AccountRole, at: datetime) -> str:
    """Makes the account of an OpenID provider's user, or gives it the role that the provider says now. Returns its
    name, which stays what it was first; empty if somebody else's account has that name."""
    table = console_tables.account
    known: str | None = connection.scalar(sa.select(table.c.name).where(table.c.subject == subject))
    if known is not None:
        set_role(connection, known, role)
        return known
    if not create_account(connection, name, "", at, role):
        return ""
    connection.execute(sa.update(table).where(table.c.name == name).values(subject=subject))
    return name


def find_role(connection: sa.Connection, name: str) -> AccountRole | None:
    """What that account may do; None if there is none of that name."""
    table = console_tables.account
    found = connection.scalar(sa.select(table.c.role).where(table.c.name == name))
    return AccountRole(found) if found else None


def set_role(connection: sa.Connection, name: str, role: AccountRole) -> bool:
    """Changes what an account may do, at once, in its sessions too. False if there is none of that name."""
    table = console_tables.account
    return connection.execute(sa.update(table).where(table.c.name == name).values(role=role)).rowcount > 0


def remove_account(connection: sa.Connection, name: str) -> bool:
    """Deletes an account, and ends its sessions. False if there is none of that name."""
    console_sessions.end_sessions(connection, name)
    return (
        connection.execute(sa.delete(console_tables.account).where(console_tables.account.c.name == name)).rowcount > 0
    )


def list_accounts(connection: sa.Connection) -> Sequence[sa.RowMapping]:
    """The accounts' names, roles and ages, the oldest first."""
    table = console_tables.account
    shown = (table.c.name, table.c.role, table.c.created_at, (table.c.subject != "").label("is_external"))
    wanted = sa.select(*shown).order_by(table.c.created_at, table.c.name)
    return connection.execute(wanted).mappings().all()


def has_accounts(connection: sa.Connection) -> bool:
    return connection.scalar(sa.select(console_tables.account.c.name).limit(1)) is not None


def is_last_admin(connection: sa.Connection, name: str) -> bool:
    """True if nobody else may change accounts."""
    table = console_tables.account
    admins = list(connection.scalars(sa.select(table.c.name).where(table.c.role == AccountRole.ADMIN).limit(2)))
    return admins == [name]


def password_hash(connection: sa.Connection, name: str) -> str | None:
    found: str | None = connection.scalar(
        sa.select(console_tables.account.c.password_hash).where(console_tables.account.c.name == name)
    )
    return found


def hash_password(password: str) -> str:
    return _HASHER.hash(password)


def verify_password(password_hash: str | None, password: str) -> bool:
    """True if the password is the one of the hash; an account without one ("", of an OpenID provider) has no password
    that is right. Takes tens of milliseconds: not on an event loop."""
    try:
        return _HASHER.verify(password_hash or _dummy_hash(), password) and bool(password_hash)
    except (VerificationError, InvalidHashError):
        return False
