"""What systemd is told, where it asked to be: sd_notify(3), datagrams to the socket that NOTIFY_SOCKET names."""

import contextlib
import os
import socket


def notify(state: str) -> None:
    """Says `READY=1`, `STOPPING=1` and the like."""
    place = os.environ.get("NOTIFY_SOCKET", "")
    if not place:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(state.encode(), "\0" + place[1:] if place.startswith("@") else place)


def beat() -> None:
    """Says that we are alive, where the unit has WatchdogSec."""
    if os.environ.get("WATCHDOG_USEC") and os.environ.get("WATCHDOG_PID") in (None, "", str(os.getpid())):
        notify("WATCHDOG=1")
