"""Retention as the store does it: commit by commit, until nothing is left."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from relay.store.store import Store

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
LIMIT = NOW - timedelta(days=7)


def in_steps(opened: Store, drop: Callable[[sa.Connection, datetime], int]) -> list[int]:
    """How much each commit took, until nothing is left."""
    steps: list[int] = []
    while count := opened.writer.submit(lambda connection: drop(connection, LIMIT)).result(60):
        steps.append(count)
    return steps
