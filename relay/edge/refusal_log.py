"""What this process refused of late, with the envelope. The mail role takes it from here and stores it.

In: refusals of MAIL, RCPT, DATA and AUTH, with the command's argument, and connections that were refused or failed.
Out: rows; a budget a minute, apart for clients that may relay, for strangers and for connections. What is over it is
only counted, so that nobody fills the disk by being refused. Connections of one peer with one reply are one row.
"""

import re
from collections import Counter
from collections.abc import Callable
from datetime import datetime

from relay.envelope import Client, Envelope
from relay.reply import Reply
from relay.store.refusals import Refusal

COMMANDS = frozenset({"MAIL", "RCPT", "DATA", "AUTH"})
CONNECTION_COMMANDS = frozenset({"CONNECT", "PROXY", "TLS", "HELO", "EHLO", "STARTTLS"})
MAX_CONNECTIONS_A_MINUTE = 30  # rows of refused connections that are kept
MAX_A_MINUTE = {False: 60, True: 20}  # refusals that are kept: of clients that may relay, of strangers
_MAX_COUNTED = 50  # different refusals that are counted in a minute
_PATH = re.compile(r"[^<>]{0,40}<([^<>]{0,400})>")


_ConnectionKey = tuple[str, str, int, str, str]  # IP address, command and reply


class RefusalLog:
    """Gathers refusals until somebody takes them."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._minute = -1
        self._written: Counter[bool] = Counter()  # this minute, of clients and of strangers
        self._refused: list[Refusal] = []
        self._connections: dict[_ConnectionKey, tuple[datetime, int]] = {}  # since when, and how many
        self._written_connections = 0  # this minute
        self._counted: Counter[tuple[str, int, str, str]] = Counter()  # what is over: command and reply

    def add(
        self, client: Client, command: str, argument: str, mail: Envelope | None, reply: Reply, *, is_stranger: bool
    ) -> None:
        """Notes a refusal of a command of COMMANDS. `mail`: the envelope as it was before the command."""
        at = self._begin_minute()
        reverse_path, recipients = _envelope(command, argument, mail)
        for recipient in recipients:
            if self._written[is_stranger] >= MAX_A_MINUTE[is_stranger]:
                self._count_only(command, reply)
                continue
            self._written[is_stranger] += 1
            who = client.ip, client.user, command, reverse_path, recipient
            self._refused.append(Refusal(at, *who, reply.code, reply.status, reply.text))

    def add_connection(self, client: Client, command: str, reply: Reply) -> None:
        """Notes a connection that was refused, or that failed, at a command of CONNECTION_COMMANDS. The reply has the
        code 0 and the reason if the client got none."""
        at, key = self._begin_minute(), (client.ip, command, *reply)
        if key in self._connections:
            since, count = self._connections[key]
            self._connections[key] = since, count + 1
        elif self._written_connections < MAX_CONNECTIONS_A_MINUTE:
            self._written_connections += 1
            self._connections[key] = at, 1
        else:
            self._count_only(command, reply)

    def _begin_minute(self) -> datetime:
        at = self._now()
        if int(at.timestamp()) // 60 != self._minute:
            self._minute = int(at.timestamp()) // 60
            self._written.clear()
            self._written_connections = 0
        return at

    def _count_only(self, command: str, reply: Reply) -> None:
        key = command, reply.code, reply.status, reply.text
        self._counted[key if key in self._counted or len(self._counted) < _MAX_COUNTED else _OTHER] += 1

    def take(self) -> list[Refusal]:
        """What was gathered since the last call."""
        at = self._now()
        counted = [Refusal(at, "", "", key[0], "", "", *key[1:], count) for key, count in self._counted.items()]
        connections = [
            Refusal(since, ip, "", command, "", "", code, status, text, count)
            for (ip, command, code, status, text), (since, count) in self._connections.items()
        ]
        taken = self._refused + connections + counted
        self._refused, self._connections, self._counted = [], {}, Counter()
        return taken


_OTHER = ("RCPT", 550, "5.7.1", "and others")


def _envelope(command: str, argument: str, mail: Envelope | None) -> tuple[str, list[str]]:
    """The reverse-path and the recipients that a refusal is about; [""] for none in particular."""
    found = _PATH.match(argument[:500]) if command in ("MAIL", "RCPT") else None
    named = found[1] if found else ""
    if command == "MAIL":
        return named, [""]
    if mail is None:
        return "", [named]
    return mail.reverse_path, [named] if command == "RCPT" else [one.mailbox for one in mail.recipients] or [""]
