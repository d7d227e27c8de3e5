"""Work in a process of its own, whose memory ends with it.

In: a function without a result.  Out: its effects on files and the database, or what an operator is to be told. What it
loads and makes (migrations: 14 MB) does not stay in this process, and in those that are forked from it later.
"""

import contextlib
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Iterator

from relay.node.data_directory import StartupError
from relay.operator_error import OperatorError

_FAULT = "the database could not be prepared, for a fault of Waypost: the lines above say where"


def run(work: Callable[[], None]) -> None:
    """Runs the work in a fork of this process, which has one thread. Raises the OperatorError that it raises;
    StartupError if it raises another one, which is printed where it happened, or if the process is killed."""
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # until it is known what it ends
    pid = os.fork()
    if pid == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(reading)
        try:
            _report(work, writing)
        finally:
            sys.stderr.flush()
            os._exit(0)
    os.close(writing)
    with _ended_together(pid), os.fdopen(reading, "rb") as file:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        octets = file.read()
        with contextlib.suppress(ChildProcessError):  # whoever started us ignores SIGCHLD: it is gone already
            os.waitpid(pid, 0)
    if not octets:
        raise StartupError("the process that prepares the database was killed")
    error: OperatorError | None = pickle.loads(octets)  # noqa: S301  of our own process
    if error is not None:
        raise error


def _report(work: Callable[[], None], writing: int) -> None:
    """Runs the work, and writes what its operator is to be told, or None."""
    error: OperatorError | None = None
    try:
        work()
    except OperatorError as raised:
        error = raised
    except Exception:  # noqa: BLE001  the outermost: only here is known where it came from, and not all can be sent
        traceback.print_exc()
        error = StartupError(_FAULT)
    with os.fdopen(writing, "wb") as file:
        pickle.dump(error, file)


@contextlib.contextmanager
def _ended_together(pid: int) -> Iterator[None]:
    """SIGTERM or an interrupt for this process ends that one first: it must not go on to change the database alone."""
    is_terminated = False

    def end(*_: object) -> None:
        nonlocal is_terminated
        is_terminated = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except KeyboardInterrupt:
        end()
        is_terminated = False
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        if is_terminated:
            os.kill(os.getpid(), signal.SIGTERM)
