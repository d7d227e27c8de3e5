"""Wait for futures or an event with a time limit.

In: futures of the event loop that runs, which stay as they are.  Out: when the first of them is done, or the time is
over. `asyncio.wait` does the same, in twice as many calls; each mail waits five times.
"""

import asyncio
import contextlib
from typing import Any, TypeVar

T = TypeVar("T")


async def wait_any(timeout_s: float | None, *futures: "asyncio.Future[Any]") -> None:  # Any: of any result
    """Until one of the futures is done, or the time is over (None: never). Nothing is cancelled."""
    for future in futures:
        if future.done():
            return
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()

    def wake(_: object = None) -> None:
        if not waiter.done():
            waiter.set_result(None)

    timer = None if timeout_s is None else loop.call_later(timeout_s, wake)
    for future in futures:
        future.add_done_callback(wake)
    try:
        await waiter
    finally:
        if timer is not None:
            timer.cancel()
        for future in futures:
            future.remove_done_callback(wake)


async def wait_until_set(event: asyncio.Event, timeout_s: float) -> None:
    """Until the event is set, or the time is over."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), timeout_s)


async def wait_shielded(task: "asyncio.Task[T]") -> T:
    """The task's result. If whoever waits is cancelled, the task goes on, and its error
    is not logged."""
    try:
        await wait_any(None, task)
    except asyncio.CancelledError:
        task.add_done_callback(_retrieve_exception)
        raise
    return task.result()


def _retrieve_exception(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled():
        task.exception()  # else asyncio reports it
