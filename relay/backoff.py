"""How long to wait before something is tried again. Decides; does nothing.

In: how often it was tried, and a random number from 0 to 1.  Out: a wait. Waits vary, so that what failed at one time
is not tried again at one time.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import TypeVar

_MAX_DOUBLINGS = 20

Wait = TypeVar("Wait", timedelta, float)


def interval_after(intervals: Sequence[timedelta], attempts: int) -> timedelta:
    """The interval after that many attempts (at least 1); the last one repeats."""
    return intervals[min(attempts, len(intervals)) - 1]


def double(first_s: float, times: int, max_s: float) -> float:
    """The first wait, doubled that often, up to the longest."""
    return min(max_s, first_s * 2.0 ** min(times, _MAX_DOUBLINGS))


def vary(wait: Wait, share: float, random: float) -> Wait:
    """The wait, up to that share of it shorter or longer. `random` is from 0 to 1; 0.5 changes nothing."""
    return wait * (1 + share * (2 * random - 1))
