"""Says that the database is waited for, while a start or a command waits for it.

In: what is to be called, with the seconds so far.  Out: a call after five seconds without an answer, and every five
seconds from then on. A connection that is not made fails by itself; a server that hangs later, a lock that somebody
holds, or a migration may take any time, and whoever waits is to know.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from time import monotonic

import sqlalchemy as sa

_FIRST_S, _EVERY_S = 5.0, 5.0
_LOOK_EVERY_S = 0.5


@contextlib.contextmanager
def watch_answers(report: Callable[[float], None]) -> Iterator[None]:
    """Watches all engines of this process. `report` is called on a thread of its own, which ends with the block."""
    waiting: dict[int, float] = {}  # by thread, since when
    ended = threading.Event()

    def begin(*_: object, **__: object) -> None:
        waiting[threading.get_ident()] = monotonic()

    def end(*_: object, **__: object) -> None:
        waiting.pop(threading.get_ident(), None)

    def look() -> None:
        say_at_s = _FIRST_S
        while not ended.wait(_LOOK_EVERY_S):
            longest_s = monotonic() - min(waiting.copy().values(), default=monotonic())
            if longest_s < _FIRST_S:
                say_at_s = _FIRST_S
            elif longest_s >= say_at_s:
                report(longest_s)
                say_at_s = longest_s + _EVERY_S

    listeners: tuple[tuple[type, str, Callable[..., None]], ...] = (
        (sa.Engine, "do_connect", begin),  # until the pool hands the connection out: a new one asks for versions first
        (sa.Pool, "checkout", end),
        (sa.Engine, "before_cursor_execute", begin),
        (sa.Engine, "after_cursor_execute", end),
        (sa.Engine, "handle_error", end),
    )
    for target, event, listener in listeners:
        sa.event.listen(target, event, listener)
    thread = threading.Thread(target=look, name="waypost-answer-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        for target, event, listener in listeners:
            sa.event.remove(target, event, listener)
