"""Work that is done once a transaction is committed, and not at all if it is undone: deleting files of its rows."""

import contextlib
from collections.abc import Callable, Iterator

import sqlalchemy as sa

_KEY = "after_commit"


def schedule(connection: sa.Connection, work: Callable[[], object]) -> None:
    """Calls `work` after the commit of this connection's transaction. A crash before it leaves it undone."""
    connection.info.setdefault(_KEY, []).append(work)


@contextlib.contextmanager
def forget_work_on_error(connection: sa.Connection) -> Iterator[None]:
    """A savepoint's block: if it raises, what it wanted to have done is not done."""
    count = len(connection.info.get(_KEY, ()))
    try:
        yield
    except BaseException:
        del connection.info.get(_KEY, [])[count:]
        raise


@contextlib.contextmanager
def transaction(connection: sa.Connection) -> Iterator[None]:
    """A transaction of this connection, and then what was to be done after it."""
    connection.info.pop(_KEY, None)
    with connection.begin():
        yield
    for work in connection.info.pop(_KEY, ()):
        with contextlib.suppress(OSError):  # the transaction stands; `delete_unreferenced` finds the file later
            work()
