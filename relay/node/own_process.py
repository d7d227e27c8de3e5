"""Work in a process of its own, whose memory ends with it.

In: a function without a result.  Out: its effects on files and the database, or its exception. What it loads and makes
(migrations: 14 MB) does not stay in this process, and in those that are forked from it later.
"""

import os
import pickle
import sys
from collections.abc import Callable

from relay.node.data_directory import StartupError


def run(work: Callable[[], None]) -> None:
    """Runs the work in a fork of this process, which has one thread. Raises what it raises; StartupError if the process
    is killed."""
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            _report(work, writing)
        finally:
            sys.stderr.flush()
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        octets = file.read()
    os.waitpid(pid, 0)
    if not octets:
        raise StartupError("the process that prepares the database was killed")
    error: Exception | None = pickle.loads(octets)  # noqa: S301  of our own process
    if error is not None:
        raise error


def _report(work: Callable[[], None], writing: int) -> None:
    """Runs the work, and writes its exception, or None."""
    error: Exception | None = None
    try:
        work()
    except Exception as raised:  # noqa: BLE001  the outermost: the other process raises it
        error = raised
    with os.fdopen(writing, "wb") as file:
        pickle.dump(error, file)
