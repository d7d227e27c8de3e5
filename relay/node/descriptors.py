"""Log a shortage of file descriptors: one line a minute.

asyncio tries to accept as many connections a turn as the backlog has room for, and reports each failure with its
traceback: megabytes of log a second.
"""

import asyncio
import errno
import os
import resource
import socket
import sys
from collections.abc import Iterable
from typing import Any

from relay import process_log

# Connections that a loop accepts in one turn, given to it as its backlog; the socket's own is larger. Few, because it
# takes four turns until a connection without room is closed, and connected clients wait meanwhile.
ACCEPTS_PER_TURN = 16
BACKLOG = 1024
_WATCH_S = 1.0
_OUT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def report_shortage(loop: asyncio.AbstractEventLoop) -> None:
    """Makes the loop log a shortage of descriptors once a minute. All other errors it reports as before."""

    def report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in _OUT):
            loop.default_exception_handler(context)
        else:
            process_log.out_of_descriptors(resource.getrlimit(resource.RLIMIT_NOFILE)[0], error.strerror or "")

    loop.set_exception_handler(report)


async def watch_shortage() -> None:
    """Logs a shortage of descriptors where the loop reports none: uvloop closes the connections that it has none for.
    Never returns."""
    while True:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        try:
            is_short = limit != resource.RLIM_INFINITY and len(os.listdir("/proc/self/fd")) >= limit  # noqa: PTH208
        except OSError as error:  # on a system without that folder too
            is_short = error.errno in _OUT
        if is_short:
            process_log.out_of_descriptors(limit, os.strerror(errno.EMFILE))
        await asyncio.sleep(_WATCH_S)


def room_for_clients() -> int:
    """Connections that clients may have open in this process: half of the descriptors. The database, files, our own
    connections and those that are just being accepted have the other half. Asks the system, which may have been told
    otherwise since."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return (limit if limit != resource.RLIM_INFINITY else sys.maxsize) // 2


def widen_backlog(sockets: Iterable[socket.socket]) -> None:
    """Lets the system hold connections that wait to be accepted, once the loop has set its own backlog."""
    for listener in sockets:
        listener.listen(BACKLOG)
