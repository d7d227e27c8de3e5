"""The listening sockets of the configuration: taken from systemd where it has opened them, else bound here.

In: `[[listen]]`, `listen` of `[tracking]`, `[console]` and `[metrics]`, and what sd_listen_fds(3) says.  Out: a socket
for each. One of systemd's is known by its name (FileDescriptorName=smtp, smtp-2 …, tracking, console, metrics) or
by its address.
"""

import errno
import os
import socket
import time
from typing import NamedTuple

from relay.config.schema import Config
from relay.config.values import HostPort
from relay.node.data_directory import StartupError

_BIND_FOR_S = 3.0  # an earlier server may still be ending
_BACKLOG = 1024
_FIRST_DESCRIPTOR = 3  # sd_listen_fds(3): SD_LISTEN_FDS_START


class Listeners(NamedTuple):
    """The sockets of each role, in the order of the configuration; of the web: tracking, then console.
    That of the metrics, if there is one, any role can serve."""

    smtp: list[socket.socket]
    web: list[socket.socket]
    metrics: list[socket.socket]


class _Listener(NamedTuple):
    name: str
    key: str
    address: HostPort


def bind_sockets(config: Config, only: str | None) -> Listeners:
    """The sockets of all roles, or of one. Raises StartupError."""
    smtp = [
        _Listener("smtp" if number == 1 else f"smtp-{number}", "[[listen]] address", listen.address)
        for number, listen in enumerate(config.listen, 1)
    ]
    web = [
        _Listener("tracking", "[tracking] listen", config.tracking.listen),
        _Listener("console", "[console] listen", config.console.listen),
    ]
    metrics = [_Listener("metrics", "[metrics] listen", config.metrics.listen)] if config.metrics.listen else []
    given = _match_sockets(_take_inherited_sockets(), [*smtp, *web, *metrics])
    wanted = {"smtp": smtp if only != "web" else [], "web": web if only != "smtp" else [], "metrics": metrics}
    opened = {
        role: [given.pop(entry) if entry in given else _bind(entry.address, entry.key) for entry in expected]
        for role, expected in wanted.items()
    }
    for left in given.values():  # of the role that is not run
        left.close()
    return Listeners(**opened)


def _take_inherited_sockets() -> list[tuple[str, socket.socket]]:
    """The sockets that systemd has opened for this process, each with its name. Only the first call has them."""
    count, for_pid = os.environ.pop("LISTEN_FDS", ""), os.environ.pop("LISTEN_PID", "")
    names = os.environ.pop("LISTEN_FDNAMES", "").split(":")
    if for_pid != str(os.getpid()) or not count.isdecimal():
        return []
    sockets = []
    for number in range(int(count)):
        try:
            one = socket.socket(fileno=_FIRST_DESCRIPTOR + number)
            is_listener = bool(one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        except OSError:
            is_listener = False
        if not is_listener or one.family not in (socket.AF_INET, socket.AF_INET6):
            raise StartupError(f"systemd has passed a socket (number {number + 1}) that is no ListenStream= of TCP")
        one.set_inheritable(False)
        one.setblocking(False)
        sockets.append((names[number] if number < len(names) else "", one))
    return sockets


def _match_sockets(
    named_sockets: list[tuple[str, socket.socket]], listeners: list[_Listener]
) -> dict[_Listener, socket.socket]:
    found: dict[_Listener, socket.socket] = {}
    for name, one in named_sockets:
        host, port = one.getsockname()[:2]
        free = [entry for entry in listeners if entry not in found]
        by_name = [entry for entry in free if entry.name == name]
        by_address = [entry for entry in free if _is_same_address(entry.address, host, port)]
        if not by_name and not by_address:
            raise StartupError(
                f'systemd has passed a socket at {HostPort(host, port)}, named "{name}", and no listener is '
                f"there or named so; call it one of {', '.join(one.name for one in listeners)} (FileDescriptorName=)"
            )
        found[(by_name or by_address)[0]] = one
    return found


def _is_same_address(address: HostPort, host: str, port: int) -> bool:
    """True if that is the address. 0.0.0.0 and [::] are one: both are all there are, and nothing narrower is."""
    if address.port != port:
        return False
    hosts = {str(found[4][0]) for found in socket.getaddrinfo(address.host, port, type=socket.SOCK_STREAM)}
    everywhere = {"0.0.0.0", "::"}  # noqa: S104  compared, not bound
    return host in hosts or (host in everywhere and bool(hosts & everywhere))


def _bind(address: HostPort, key: str) -> socket.socket:
    end = time.monotonic() + _BIND_FOR_S
    while True:
        try:
            found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            family, kind, protocol, _, name = found[0]
            listener = socket.socket(family, kind, protocol)
            try:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(name)
                listener.listen(_BACKLOG)
                listener.setblocking(False)
            except OSError:
                listener.close()
                raise
            return listener
        except OSError as error:
            if time.monotonic() > end or error.errno != errno.EADDRINUSE:
                raise StartupError(f"{key}: cannot listen on {address}: {error.strerror}") from None
            time.sleep(0.1)
