"""Whose fault an error is: the database's or the disk's, or the program's own.

In: an exception that came out of the store.  Out: a yes or no, and a reason for the log that names no person. Work that
fails because of the database is tried again later; work that fails by itself would fail each time.
"""

import sqlite3
import traceback

import sqlalchemy as sa

from relay import log, redaction

_MAX_REASON = 200  # characters
_SQLITE_CODES = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_SCHEMA,
    sqlite3.SQLITE_NOTADB,
}
# PostgreSQL's appendix A: connection, resources, operator, system, internal (with damage) in whole classes; a server
# that is read-only or does not let us in; tables that are not there.
_SQLSTATE_CLASSES = ("08", "28", "53", "57", "58", "F0", "XX")
_CONFLICTS = ("40001", "40P01")  # serialization_failure, deadlock_detected
_SQLSTATES = ("25006", "42501", "42P01", "3F000")


class NotStoredYetError(LookupError):
    """The subject of a fact is not in the database. It may still be in a journal."""


def is_database_fault(error: BaseException) -> bool:
    """True if the database or the disk is away, full, locked or damaged; False if this work would fail each time."""
    if isinstance(error, OSError | sa.exc.TimeoutError | sa.exc.DisconnectionError | sa.exc.PendingRollbackError):
        return True
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", None)
        if code is None:
            return isinstance(cause, sqlite3.OperationalError)
        # A foreign file has none of our tables, for which SQLite has no code of its own.
        return code & 0xFF in _SQLITE_CODES or str(cause).startswith("no such table")
    state = getattr(cause, "sqlstate", None) or ""
    return (
        isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)
        or (isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated)
        or state.startswith(_SQLSTATE_CLASSES)
        or state in _SQLSTATES
    )


def is_conflict(error: sa.exc.DBAPIError) -> bool:
    """True if PostgreSQL undid a transaction because of another one: the same work may succeed now."""
    return (getattr(error.orig, "sqlstate", None) or "") in _CONFLICTS


def is_damage(error: BaseException) -> bool:
    """True if SQLite reports that its file is damaged or no database."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def describe_error(error: BaseException) -> str:
    """The first line of the database's message, without statements, values and addresses."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) and error.orig else error
    first = next(iter(str(cause).splitlines()), "").strip()
    return redaction.redact_addresses(first)[:_MAX_REASON] or type(cause).__name__


def format_traceback(error: BaseException) -> str:
    """The traceback of an error outside its `except`."""
    return "".join(traceback.format_exception(error))


def log_failure(error: BaseException, where: str, item: str = "") -> None:
    """For an `except` around a loop's round or one of its items: names the trouble of database and disk; anything else
    is a fault of ours, with its traceback. `item`: its id."""
    if is_database_fault(error):
        log.database_unavailable(describe_error(error))
    else:
        log.fault(where, item)
