"""What the connections of a process share, and what those of one listener share."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from relay.config.smtp import ListenConfig
from relay.edge import auth, tls
from relay.edge.connection_limits import ConnectionLimits
from relay.edge.policy import Policy
from relay.edge.refusal_log import RefusalLog
from relay.envelope import AcceptMessage, Authenticate, CheckRecipient, ReturnPathHandler


def _utc_now() -> datetime:
    return datetime.now(UTC)


class OpenConnection(Protocol):
    """A connection, as the server sees it when it stops."""

    transport: asyncio.BaseTransport | None

    def drain(self) -> None:
        """Ends the connection in order."""


@dataclass(frozen=True, slots=True)
class ServerContext:
    """What all connections of a process share: configured values, state, and what the edge calls."""

    hostname: str
    max_size: int  # octets of a message
    idle_s: float
    policy: Policy
    connection_limits: ConnectionLimits
    accept_message: AcceptMessage
    check_recipient: CheckRecipient
    authenticate: Authenticate
    password_guesses: auth.PasswordGuesses
    connections: set[OpenConnection]  # those that are open
    refusals: RefusalLog
    now: Callable[[], datetime] = _utc_now
    return_path: ReturnPathHandler | None = None  # for mail to the return path, which anybody may send


class ListenerContext(NamedTuple):
    """What the connections of one `[[listen]]` share."""

    listen: ListenConfig
    certificate: tls.Certificate | None
