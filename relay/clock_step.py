"""Detect that the machine's clock was set, which moves every lease and every due time.

In: the clock, and one that only goes forward.  Out: how far the clock was set since the last look.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

MIN_STEP = timedelta(seconds=5)  # less is a busy machine, or NTP that adjusts slowly


class ClockStepDetector:
    """Compares the two clocks of one process."""

    def __init__(self, now: Callable[[], datetime], elapsed_s: Callable[[], float]) -> None:
        self._now, self._elapsed_s = now, elapsed_s
        self._read_clocks()

    def step(self) -> timedelta:
        """How far the clock has been set since the last call; zero if it has not. Negative: back."""
        before, before_s = self._readings
        self._read_clocks()
        after, after_s = self._readings
        step = after - before - timedelta(seconds=after_s - before_s)
        return step if abs(step) >= MIN_STEP else timedelta()

    def _read_clocks(self) -> None:
        self._readings = self._now(), self._elapsed_s()
