"""Sessions of people who are signed in to the console.

A session is 256 random bits, which only the browser has. Their SHA-256 is stored, so that somebody who reads the
database cannot use a session. A session ends with a sign-out, when its time is over, and when its account gets another
password or is removed.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from relay.store.database import columns, console_tables

LIFETIME = timedelta(days=14)
_MAX_USER_AGENT = 300  # characters
_NOTE_USE_AFTER = timedelta(minutes=1)


def start_session(
    connection: sa.Connection,
    session: str,
    account: str,
    password_hash: str,
    now: datetime,
    *,
    user_agent: str,
    ip: str,
    lifetime: timedelta = LIFETIME,
) -> bool:
    """Signs an account in for so long. False if that is no longer its password: it was changed meanwhile."""
    table, accounts = console_tables.console_session, console_tables.account
    stored = connection.scalar(sa.select(accounts.c.password_hash).where(accounts.c.name == account))
    if stored != password_hash:
        return False
    connection.execute(sa.delete(table).where(table.c.expires_at <= now))
    row = {
        "digest": session_digest(session),
        "account": account,
        "created_at": now,
        "used_at": now,
        "expires_at": now + min(lifetime, LIFETIME),
        "user_agent": columns.storable_text(user_agent, _MAX_USER_AGENT),
        "ip": ip,
    }
    connection.execute(sa.insert(table), row)
    return True


def find_session(connection: sa.Connection, session: str, now: datetime) -> sa.RowMapping | None:
    """The session of those random bits, with its account's role; None if there is none, or not any more."""
    table, accounts = console_tables.console_session, console_tables.account
    wanted = (
        sa.select(table, accounts.c.role, accounts.c.subject)
        .join(accounts, accounts.c.name == table.c.account)
        .where(table.c.digest == session_digest(session), table.c.expires_at > now)
    )
    return connection.execute(wanted).mappings().first()


def find_account(connection: sa.Connection, session_digest: str) -> str:
    """Whose session that is; empty if there is none."""
    table = console_tables.console_session
    return connection.scalar(sa.select(table.c.account).where(table.c.digest == session_digest)) or ""


def is_use_due(row: sa.RowMapping, now: datetime) -> bool:
    """True if the stored time of use is more than a minute old."""
    used_at: datetime = row["used_at"]
    return now - used_at >= _NOTE_USE_AFTER


def note_session_use(connection: sa.Connection, session_digest: str, now: datetime) -> None:
    table = console_tables.console_session
    connection.execute(sa.update(table).where(table.c.digest == session_digest).values(used_at=now))


def list_sessions(connection: sa.Connection, now: datetime, account: str = "") -> Sequence[sa.RowMapping]:
    """All that last, or those of an account; the one that was used last first."""
    table = console_tables.console_session
    query = sa.select(table).where(table.c.expires_at > now).order_by(table.c.used_at.desc(), table.c.digest)
    if account:
        query = query.where(table.c.account == account)
    return connection.execute(query).mappings().all()


def end_session(connection: sa.Connection, session_digest: str, account: str = "") -> bool:
    """Signs a browser out. False if there is no such session, or none of that account."""
    table = console_tables.console_session
    wanted = sa.delete(table).where(table.c.digest == session_digest)
    if account:
        wanted = wanted.where(table.c.account == account)
    return connection.execute(wanted).rowcount > 0


def end_sessions(connection: sa.Connection, account: str) -> None:
    """Signs an account out everywhere."""
    table = console_tables.console_session
    connection.execute(sa.delete(table).where(table.c.account == account))


def session_digest(session: str) -> str:
    return hashlib.sha256(session.encode("utf-8", "surrogatepass")).hexdigest()
