"""A limit of processor time that fits the machine, so that a slow one, or one that measures coverage, fails nobody.

In: seconds, as they hold on the machine where the limits were set.  Out: a block that fails if it takes more. What is
counted is the processor's time of this thread, or of the whole process where a server in it has its share.
"""

import contextlib
import functools
import time
from collections.abc import Iterator

_STEPS, _STEPS_TOOK_S = 200_000, 0.008  # there, at its best


@contextlib.contextmanager
def at_most(limit_s: float, subject: object = "", *, of_process: bool = False) -> Iterator[None]:
    """`subject` is named if the block takes longer."""
    clock = time.process_time if of_process else time.thread_time
    began_s = clock()
    yield
    took_s = clock() - began_s
    assert took_s <= limit_s or took_s <= limit_s * _slowness(), (took_s, subject)


@functools.cache
def _slowness() -> float:
    """How much longer plain Python takes here; at least 1."""
    return max(1.0, min(_count_steps_s() for _ in range(3)) / _STEPS_TOOK_S)


def _count_steps_s() -> float:
    began_s, steps = time.thread_time(), 0
    while steps < _STEPS:
        steps += 1
    return time.thread_time() - began_s
