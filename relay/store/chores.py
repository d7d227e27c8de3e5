"""Work that one process does for all, whatever machine it runs on: a chore.

In: a chore's name, and a process that would do it.  Out: whether it may. The right to a chore is a lease: a process
that is gone has it no longer than that.
"""

from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from relay.store.database import columns, console_tables

RETENTION: Final = "retention"
ALERTS: Final = "alerts"
_table = console_tables.chore
_FORGET_AFTER = timedelta(days=1)  # chores of machines that are gone


def is_free(connection: sa.Connection, name: str, now: datetime, duration: timedelta) -> bool:
    """True if nobody has the chore."""
    held = sa.select(_table.c.name).where(_table.c.name == name, ~_may_take(now, duration))
    return connection.execute(held).first() is None


def take_chore(
    connection: sa.Connection, name: str, worker: str, now: datetime, duration: timedelta, *, may_extend: bool = False
) -> bool:
    """True if the worker has the chore from now on, for that `duration`: nobody had it. With `may_extend`, also if
    the worker itself had it."""
    values = {"worker": worker, "until": now + duration}
    may_take = sa.or_(_may_take(now, duration), _table.c.worker == worker) if may_extend else _may_take(now, duration)
    taking = columns.insert_into(connection, _table).values(name=name, **values)
    connection.execute(sa.delete(_table).where(_table.c.until < now - _FORGET_AFTER))
    taking = taking.on_conflict_do_update(index_elements=["name"], set_=values, where=may_take)
    # PostgreSQL's driver does not say how many rows there were.
    return connection.execute(taking.returning(_table.c.name)).first() is not None


def release_chores(connection: sa.Connection, worker: str | None) -> None:
    """Ends the leases of workers whose name begins so; None: of all, when none can be running."""
    whose = sa.true() if worker is None else _table.c.worker.startswith(worker, autoescape=True)
    connection.execute(sa.delete(_table).where(whose))


def _may_take(now: datetime, duration: timedelta) -> sa.ColumnElement[bool]:
    # A lease that ends later than one which begins now was taken before a clock was set back.
    return sa.or_(_table.c.until <= now, _table.c.until > now + duration)
