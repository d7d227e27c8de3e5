"""Work on many items in one transaction: all in one savepoint, or else each in its own.

A savepoint costs as much as a statement, so that all items share one as long as none fails. If one does, each is tried
by itself: the others stand, and what failed is known.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import sqlalchemy as sa

from relay.store.database import after_commit, errors, roll_ups

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def savepoint(connection: sa.Connection) -> Iterator[None]:
    """Undoes what the block did if it raises, its counts (`roll_ups`), and what was to be done `after_commit`."""
    with connection.begin_nested(), roll_ups.gather_counts(connection), after_commit.forget_work_on_error(connection):
        yield


def run_all_or_each(
    connection: sa.Connection,
    items: Sequence[Item],
    run: Callable[[Item], Result],
    on_failure: Callable[[Item, Exception], Result],
    run_all: Callable[[Sequence[Item]], None] | None = None,
) -> list[Result]:
    """Returns what `run` returns for each item, in order, or `on_failure` where it raises by itself. `run_all` does
    the same for all at once; then nothing is returned for them.

    Raises what `run` raises for a fault of the database: then nothing stands. `run` may be called twice for an item,
    but only one call stands.
    """
    try:
        with savepoint(connection):
            if run_all:
                run_all(items)
                return []
            return [run(item) for item in items]
    except Exception as error:
        if errors.is_database_fault(error):
            raise
    return run_each(connection, items, run, on_failure)


def run_each(
    connection: sa.Connection,
    items: Iterable[Item],
    run: Callable[[Item], Result],
    on_failure: Callable[[Item, Exception], Result],
) -> list[Result]:
    """The same, each item in its own savepoint from the start. `on_failure` runs outside of it."""
    results: list[Result] = []
    for item in items:
        try:
            with savepoint(connection):
                results.append(run(item))
        except Exception as error:
            if errors.is_database_fault(error):
                raise
            results.append(on_failure(item, error))
    return results
