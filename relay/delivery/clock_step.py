"""Notices when the machine's clock is set, which moves every lease and every due time.

In: the clock, and one that only goes forward.  Out: how far the clock was set since the last look.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

SMALLEST = timedelta(seconds=5)  # less is a busy machine, or NTP going slowly about it


class Watch:
    """Of one process."""

    def __init__(self, now: Callable[[], datetime], elapsed_s: Callable[[], float]) -> None:
        self._now, self._elapsed_s = now, elapsed_s
        self._look()

    def step(self) -> timedelta:
        """How far the clock has been set since the last call; zero if it has not. Negative: back."""
        before, before_s = self._seen
        self._look()
        after, after_s = self._seen
        found = after - before - timedelta(seconds=after_s - before_s)
        return found if abs(found) >= SMALLEST else timedelta()

    def _look(self) -> None:
        self._seen = self._now(), self._elapsed_s()
