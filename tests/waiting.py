"""Wait for what another process or thread does: a commit after a reply, a line of the log, a request.

In: `look`, which is called until what it returns fits: until it is true, if nothing else is said.  Out: what it
returned then.  After `MAX_WAIT_S` an assertion fails with what `shows` returns, or with what was seen last. The limit
is for a server that never gets there: a busy machine took half a minute for what takes milliseconds.
"""

import asyncio
from collections.abc import Callable
from time import monotonic, sleep
from typing import TypeVar

MAX_WAIT_S = 60.0

T = TypeVar("T")


def until(
    look: Callable[[], T],
    shows: Callable[[], object] | None = None,
    *,
    fits: Callable[[T], object] = bool,
    every_s: float = 0.02,
    timeout_s: float = MAX_WAIT_S,
) -> T:
    """`timeout_s` is given only where what is waited for may take more than a minute by design."""
    end = monotonic() + timeout_s
    while not fits(found := look()):
        assert monotonic() < end, shows() if shows else f"seen last: {found!r}"
        sleep(every_s)
    return found


async def until_async(look: Callable[[], object]) -> None:
    """The same on an event loop, which goes on meanwhile."""
    end = monotonic() + MAX_WAIT_S
    while not (found := look()):
        assert monotonic() < end, f"seen last: {found!r}"
        await asyncio.sleep(0.01)
