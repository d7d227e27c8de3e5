"""Every Python of `make later` begins with this: sleeping under a clock that is set by faketime.

libfaketime 0.9.10 lets `clock_nanosleep` fail with EINVAL on a monotonic clock that it does not
fake; `select` sleeps too.
"""

import select
import time
from typing import SupportsIndex


def _sleep(seconds: float | SupportsIndex, /) -> None:
    select.select([], [], [], max(0.0, float(seconds)))


time.sleep = _sleep
