"""What SQLite does not do by itself: its write-ahead log is emptied, and its tables are measured for its plans.

Nothing is done on PostgreSQL, which does both by itself.
"""

import contextlib
import sqlite3
import time
from pathlib import Path

import sqlalchemy as sa

from relay.store.database import engine as engines

_CHECKPOINT_MS = 200  # meanwhile nobody writes
_BOUND_MS, _BOUND_EVERY_S = 40, 1.0  # the same, under load
_ANALYZED_ROWS = 1000  # of each index


def checkpoint(engine: sa.Engine, wait_ms: int = _CHECKPOINT_MS) -> None:
    """Moves the write-ahead log into the database and empties it, because deleted rows would stay readable in there.
    Nobody writes while it waits for readers to end. If they hold it up longer, a later call does it. Raises
    sqlalchemy.exc.SQLAlchemyError."""
    if engine.dialect.name == "sqlite":
        with contextlib.closing(engine.raw_connection()) as connection:
            cursor = connection.cursor()
            cursor.execute(f"PRAGMA busy_timeout={wait_ms}")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


class LogBound:
    """Keeps the write-ahead log within its bound under load: SQLite does not while readers come without a pause."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._next_s = 0.0 if engine.dialect.name == "sqlite" else float("inf")

    def hold(self) -> None:
        """Empties the log if it has grown beyond its bound; raises nothing. The writer calls this between two commits:
        under load nobody else gets the lock."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + _BOUND_EVERY_S
        path = Path(f"{self._engine.url.database}-wal")
        with contextlib.suppress(sa.exc.SQLAlchemyError, sqlite3.Error, OSError):  # the next call may succeed
            octets = path.stat().st_size
            if octets > engines.MAX_LOG_OCTETS:
                checkpoint(self._engine, _BOUND_MS if octets < 4 * engines.MAX_LOG_OCTETS else _CHECKPOINT_MS)


def analyze(engine: sa.Engine) -> bool:
    """Looks at some rows of each index, in milliseconds: the planner chooses by it. True if the engine is SQLite.
    Raises sqlalchemy.exc.SQLAlchemyError."""
    if engine.dialect.name != "sqlite":
        return False
    with contextlib.closing(engine.raw_connection()) as connection:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={round(engines.BUSY_TIMEOUT_S * 1000)}")
        cursor.execute(f"PRAGMA analysis_limit={_ANALYZED_ROWS}")
        cursor.execute("ANALYZE")
    return True
