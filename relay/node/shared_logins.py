"""Share the clients' credentials between the mail processes of a node (`[access] auth = "upstream"`).

In: logins that one process found to be good.  Out: the same in all others. They are sent as datagrams over socket pairs
made before the fork, and never written to disk. A datagram that does not fit is dropped; that mail waits for a login.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable, Iterable

from relay.envelope import Login

_MAX_LOGINS = 100  # logins of a datagram
_MAX_DATAGRAM = 1 << 21  # octets of one


class LoginChannel:
    """The channel of one process to the others. Make all of them before the fork, with `make_channels`."""

    def __init__(self, inbox: socket.socket, other_sockets: Iterable[socket.socket]) -> None:
        self._inbox = inbox
        self._other_processes = tuple(other_sockets)

    def listen(self, known_logins: Callable[[], list[Login]], add: Callable[[Login], None]) -> None:
        """Receives logins from the other processes, and asks them for those that they know."""

        def receive() -> None:
            with contextlib.suppress(BlockingIOError):
                logins = json.loads(self._inbox.recv(_MAX_DATAGRAM))
                if logins is None:
                    self.broadcast(known_logins())
                for name, password in logins or ():
                    add(Login(name, password))

        asyncio.get_running_loop().add_reader(self._inbox, receive)
        self._send_to_others(None)

    def broadcast(self, logins: list[Login]) -> None:
        """Sends the logins to all others."""
        for at in range(0, len(logins), _MAX_LOGINS):
            self._send_to_others([[login.username, login.password] for login in logins[at : at + _MAX_LOGINS]])

    def _send_to_others(self, content: list[list[str]] | None) -> None:
        for other in self._other_processes:
            with contextlib.suppress(OSError):
                other.send(json.dumps(content).encode())


def make_channels(count: int) -> list[LoginChannel]:
    """A channel for each of so many processes."""
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(count)]
    for end in (end for pair in pairs for end in pair):
        end.setblocking(False)
    return [LoginChannel(pair[0], [other[1] for other in pairs if other is not pair]) for pair in pairs]
