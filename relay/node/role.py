"""A role's process: what it runs from the fork to its end, and the beats by which the supervisor knows that it answers.

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

from relay import log
from relay.config.schema import Config
from relay.node import privileges

Serve = Callable[[Config, Sequence[socket.socket], asyncio.Event, asyncio.Event], Awaitable[None]]
Recover = Callable[[Config, Sequence[int]], None]

_BEAT = b"."
_BEAT_EVERY_S = 1.0
_PR_SET_PDEATHSIG = 1


class Role(NamedTuple):
    """What a process serves, and on which sockets. `recover` is called before, with its predecessors that died."""

    name: str
    serve: Serve
    sockets: Sequence[socket.socket]
    recover: Recover | None = None


def live(config: Config, role: Role, heartline: int, parent: int, dead: Sequence[int]) -> int:
    """The life of the process that was just forked. Returns its exit status."""
    faulthandler.enable()  # SIGABRT: standard error gets where each thread stands, whatever holds the interpreter
    _die_with(parent)
    privileges.forbid_new()
    gc.freeze()  # else each full collection, for which all wait, passes through the whole program too
    os.set_blocking(heartline, False)  # a supervisor that is stopped does not read

    async def main() -> None:
        ready, stop = asyncio.Event(), asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        serving = asyncio.ensure_future(role.serve(config, role.sockets, ready, stop))
        getting_ready = asyncio.ensure_future(ready.wait())
        await asyncio.wait({serving, getting_ready}, return_when=asyncio.FIRST_COMPLETED)
        beating = asyncio.ensure_future(_beat(heartline)) if ready.is_set() else getting_ready
        try:
            await serving
        finally:
            beating.cancel()

    try:
        if dead and role.recover:
            role.recover(config, dead)
        asyncio.run(main())
    except Exception:  # noqa: BLE001  the outermost: the supervisor starts this role again
        log.fault(role.name, "start")
        return 1
    return 0


async def _beat(heartline: int) -> None:
    while True:
        with contextlib.suppress(BlockingIOError):
            os.write(heartline, _BEAT)
        await asyncio.sleep(_BEAT_EVERY_S)


def _die_with(parent: int) -> None:
    """Linux ends this process with its parent, so that a killed supervisor leaves nobody behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
