"""Processes that get no processor time for a while."""

import contextlib
import os
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """SIGSTOP until the block ends. One that was killed meanwhile needs no SIGCONT."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
