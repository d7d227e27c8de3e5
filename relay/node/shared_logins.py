"""What the mail processes of a node tell each other: whose credentials are known (`[access] auth = "upstream"`).

In: logins that one of them has seen to be good.  Out: the same in all others. They go as datagrams over socket pairs
that are made before the fork, from memory to memory; what does not fit is dropped, and its mail waits for a login.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable, Iterable

from relay.envelope import Login

_TOGETHER = 100  # logins of a datagram
_LONGEST = 1 << 21  # octets of one


class Circle:
    """One process's place among its siblings. Make all of them before the fork, with `circles`."""

    def __init__(self, inbox: socket.socket, others: Iterable[socket.socket]) -> None:
        self._inbox = inbox
        self._others = tuple(others)

    def join(self, known: Callable[[], list[Login]], add: Callable[[Login], None]) -> None:
        """Hears from the others, and asks them what they know: whoever was here before us may have known it too."""

        def hear() -> None:
            with contextlib.suppress(BlockingIOError):
                said = json.loads(self._inbox.recv(_LONGEST))
                if said is None:
                    self.tell(known())
                for name, password in said or ():
                    add(Login(name, password))

        asyncio.get_running_loop().add_reader(self._inbox, hear)
        self._say(None)

    def tell(self, logins: list[Login]) -> None:
        """Tells all others."""
        for at in range(0, len(logins), _TOGETHER):
            self._say([[login.username, login.password] for login in logins[at : at + _TOGETHER]])

    def _say(self, what: list[list[str]] | None) -> None:
        for other in self._others:
            with contextlib.suppress(OSError):
                other.send(json.dumps(what).encode())


def circles(count: int) -> list[Circle]:
    """A place for each of so many processes."""
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(count)]
    for end in (end for pair in pairs for end in pair):
        end.setblocking(False)
    return [Circle(pair[0], [other[1] for other in pairs if other is not pair]) for pair in pairs]
