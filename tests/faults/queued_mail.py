"""One upstream that is tried again each second, and the wait until nothing is left in the queue."""

from tests.upstream import ScriptedUpstream
from tests.waiting import MAX_WAIT_S, until
from tests.waypost_server import Waypost

CONNECTIONS = 4


def settings(sink: ScriptedUpstream, mode: str) -> str:
    return (
        f'[[upstream]]\naddress = "127.0.0.1:{sink.port}"\ntls = "off"\nconnections = {CONNECTIONS}\n'
        f'[delivery]\nmode = "{mode}"\nretry = ["1s"]\n'
    )


def drained(relay: Waypost, timeout_s: float = MAX_WAIT_S) -> None:
    """Waits until nothing is left in the queue."""
    until(
        lambda: not relay.rows("queue", "list"),
        lambda: relay.rows("queue", "list")[:3],
        every_s=0.2,
        timeout_s=timeout_s,
    )
