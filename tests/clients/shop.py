"""The server that all clients send to, and the ways in which it takes mail."""

from pathlib import Path
from typing import NamedTuple

from tests.upstream import ScriptedUpstream
from tests.waypost_server import Waypost

USER, PASSWORD = "shop", "correct horse"


class Way(NamedTuple):
    """How a client is to send: to which port, under which TLS, and whether it logs in."""

    name: str
    port: int
    tls: str  # "" | starttls | implicit
    has_login: bool
    certificate: Path  # of the authority to trust
    protocol: str  # what Received will say

    @property
    def recipient(self) -> str:
        return f"{self.name}@example.com"


class Shop(NamedTuple):
    """The server and what is behind it."""

    ways: dict[str, Way]
    upstream: ScriptedUpstream
    relay: Waypost
