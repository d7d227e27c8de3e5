"""A deadline that moves all the time and is rarely reached: of a connection that is read from, say.

In: when it is now.  Out: a call once that time has come. The event loop's timer is not touched when the deadline moves
later: when it fires too early, it is set again. (With a timer of its own each command of an SMTP client costs 4 µs.)
"""

import asyncio
from collections.abc import Callable

NEVER = float("inf")


class Deadline:
    """One deadline, in the event loop's time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_reached: Callable[[], None]) -> None:
        self._loop = loop
        self._on_reached = on_reached
        self._at_s = NEVER
        self._fires_at_s = NEVER
        self._timer: asyncio.TimerHandle | None = None

    def set(self, at_s: float) -> None:
        """It is then, and no longer at an earlier or a later time."""
        self._at_s = at_s
        if at_s < self._fires_at_s:
            self._arm()

    def clear(self) -> None:
        """There is none until it is set again."""
        self._at_s = NEVER

    def cancel(self) -> None:
        """It is never reached again, and its timer is given up."""
        self._at_s = self._fires_at_s = NEVER
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._fires_at_s = self._at_s
        self._timer = self._loop.call_at(self._at_s, self._fire)

    def _fire(self) -> None:
        self._timer, self._fires_at_s = None, NEVER
        if self._at_s == NEVER:
            return
        if self._loop.time() < self._at_s:
            self._arm()
            return
        self._at_s = NEVER
        self._on_reached()
