"""Log a shortage of file descriptors: one line a minute.

asyncio tries to accept as many connections a turn as the backlog has room for, and reports each failure with its
traceback: megabytes of log a second.
"""

import asyncio
import errno
import resource
import sys
from typing import Any

from relay import process_log

# Connections that a web role accepts in one turn. Few, because it takes four turns until a connection without room is
# closed, and connected clients wait meanwhile.
ACCEPTS_PER_TURN = 16
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


def room_for_clients() -> int:
    """Connections that clients may have open in this process: half of the descriptors. The database, files, our own
    connections and those that are just being accepted have the other half. Asks the system, which may have been told
    otherwise since."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return (limit if limit != resource.RLIM_INFINITY else sys.maxsize) // 2
