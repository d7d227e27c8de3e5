"""The tests. In front of them all: sleeping under a clock that is set by faketime, and compiled modules.

libfaketime 0.9.10 lets `clock_nanosleep` fail on a monotonic clock that it does not fake; `select` sleeps too.
"""

import os
import select
import sys
import time
from typing import SupportsIndex


def _sleep(seconds: float | SupportsIndex, /) -> None:
    select.select([], [], [], max(0.0, float(seconds)))


if "FAKETIME" in os.environ:
    time.sleep = _sleep

# As in the Makefile: without compiled modules each start of the program compiles all of them, each test run too.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
