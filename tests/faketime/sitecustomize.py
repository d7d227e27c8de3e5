"""Every Python of `make later` begins with this: what libfaketime 0.9.10 disturbs, besides the clock, is mended.

It lets `clock_nanosleep` fail with EINVAL on a monotonic clock that it does not fake; `select` sleeps too.

Each process opens the semaphore that `FAKETIME_SHARED` names. A process of another user (PostgreSQL's) may not open
root's, and makes one that is named after its process id. It ends if a dead process of root's left one of that name.
"""

import contextlib
import os
import select
import time
from pathlib import Path
from typing import SupportsIndex


def _sleep(seconds: float | SupportsIndex, /) -> None:
    select.select([], [], [], max(0.0, float(seconds)))


time.sleep = _sleep

for name in os.environ.get("FAKETIME_SHARED", "").split():
    for path in (f"/dev/shm/sem.{name[1:]}", f"/dev/shm/{name[1:]}"):
        with contextlib.suppress(OSError):
            Path(path).chmod(0o666)
