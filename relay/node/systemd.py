"""Notify systemd if it asks for that: sd_notify(3), datagrams to the socket that NOTIFY_SOCKET names."""

import contextlib
import os
import socket


def notify(state: str) -> None:
    """Sends `READY=1`, `STOPPING=1` and the like."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)


def notify_watchdog() -> None:
    """Sends `WATCHDOG=1` if the unit has WatchdogSec."""
    if os.environ.get("WATCHDOG_USEC") and os.environ.get("WATCHDOG_PID") in (None, "", str(os.getpid())):
        notify("WATCHDOG=1")
