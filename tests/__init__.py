"""The tests. In front of them all: sleeping under a clock that is set by faketime.

libfaketime 0.9.10 lets `clock_nanosleep` fail on a monotonic clock that it does not fake; `select` sleeps too.
"""

import os
import select
import time
from typing import SupportsIndex


def _sleep(seconds: float | SupportsIndex, /) -> None:
    select.select([], [], [], max(0.0, float(seconds)))


if "FAKETIME" in os.environ:
    time.sleep = _sleep
