"""A role's process from the fork to its end, and its heartbeats, which tell the supervisor that it answers.

In: the role, and the write end of a pipe.  Out: an octet when the role is ready, and one each second from then on as
long as its event loop turns. With the process the pipe closes.
"""

import asyncio
import contextlib
import ctypes
import faulthandler
import gc
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import setproctitle

from relay import log, metrics
from relay.config.schema import Config
from relay.node import privileges
from relay.shared_counters import SharedCounters

Serve = Callable[[Config, Sequence[socket.socket], asyncio.Event, asyncio.Event], Awaitable[None]]
Recover = Callable[[Config, Sequence[int]], None]

_HEARTBEAT = b"."
_HEARTBEAT_S = 1.0
_PR_SET_PDEATHSIG = 1


class Role(NamedTuple):
    """What a process serves, and on which sockets. `recover` is called before, with its predecessors that died."""

    name: str
    serve: Serve
    sockets: Sequence[socket.socket]
    counters: SharedCounters
    recover: Recover | None = None
    make_loop: Callable[[], asyncio.AbstractEventLoop] | None = None  # None: asyncio's own


def run_child(config: Config, role: Role, heartbeat_pipe: int, parent: int, dead_pids: Sequence[int]) -> int:
    """Runs the role in a process that was just forked. Returns its exit status."""
    setproctitle.setproctitle(f"waypost: {role.name}")
    faulthandler.enable()  # SIGABRT writes the stack of each thread to standard error
    _end_with_parent(parent)
    metrics.count_in(role.counters, role.name)
    privileges.forbid_new_privileges()
    gc.freeze()  # else each full collection looks at the whole program too, and all wait for it
    gc.set_threshold(50_000, 20, 50)
    os.set_blocking(heartbeat_pipe, False)  # a supervisor that is stopped does not read

    async def main() -> None:
        ready, stop = asyncio.Event(), asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        serving = asyncio.ensure_future(role.serve(config, role.sockets, ready, stop))
        getting_ready = asyncio.ensure_future(ready.wait())
        await asyncio.wait({serving, getting_ready}, return_when=asyncio.FIRST_COMPLETED)
        beating = asyncio.ensure_future(_send_heartbeats(heartbeat_pipe)) if ready.is_set() else getting_ready
        try:
            await serving
        finally:
            beating.cancel()

    try:
        if dead_pids and role.recover:
            role.recover(config, dead_pids)
        with asyncio.Runner(loop_factory=role.make_loop) as runner:
            runner.run(main())
    except Exception:  # noqa: BLE001  the outermost: the supervisor starts this role again
        log.fault(role.name, "start")
        return 1
    return 0


async def _send_heartbeats(heartbeat_pipe: int) -> None:
    while True:
        with contextlib.suppress(BlockingIOError):
            os.write(heartbeat_pipe, _HEARTBEAT)
        await asyncio.sleep(_HEARTBEAT_S)


def _end_with_parent(parent: int) -> None:
    """Linux ends this process with its parent, so that a killed supervisor leaves no process behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
