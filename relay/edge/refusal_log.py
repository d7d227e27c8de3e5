"""What this process refused of late, with the envelope, for whoever stores it.

In: refusals of MAIL, RCPT, DATA and AUTH, with the command's argument.  Out: rows; a budget a minute, apart for clients
that may relay and for strangers. What is over it is only counted, so that nobody fills the disk by being refused.
"""

import re
from collections import Counter
from collections.abc import Callable
from datetime import datetime

from relay.envelope import Client, Envelope
from relay.reply import Reply
from relay.store.refusals import Refusal

COMMANDS = frozenset({"MAIL", "RCPT", "DATA", "AUTH"})
MAX_A_MINUTE = {False: 60, True: 20}  # refusals that are kept: of clients that may relay, of strangers
_MAX_COUNTED = 50  # different refusals that are counted in a minute
_PATH = re.compile(r"[^<>]{0,40}<([^<>]{0,400})>")


class RefusalLog:
    """Gathers refusals until somebody takes them."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._minute = -1
        self._kept: Counter[bool] = Counter()  # this minute, of clients and of strangers
        self._refused: list[Refusal] = []
        self._counted: Counter[tuple[str, int, str, str]] = Counter()  # what is over: command and reply

    def add(
        self, client: Client, command: str, argument: str, mail: Envelope | None, reply: Reply, *, is_stranger: bool
    ) -> None:
        """Notes a refusal of a command of COMMANDS. `mail`: the envelope as it was before the command."""
        at = self._now()
        if int(at.timestamp()) // 60 != self._minute:
            self._minute = int(at.timestamp()) // 60
            self._kept.clear()
        reverse_path, recipients = _envelope(command, argument, mail)
        for recipient in recipients:
            if self._kept[is_stranger] >= MAX_A_MINUTE[is_stranger]:
                key = command, reply.code, reply.status, reply.text
                self._counted[key if key in self._counted or len(self._counted) < _MAX_COUNTED else _OTHER] += 1
                continue
            self._kept[is_stranger] += 1
            who = client.ip, client.user, command, reverse_path, recipient
            self._refused.append(Refusal(at, *who, reply.code, reply.status, reply.text))

    def take(self) -> list[Refusal]:
        """What was gathered since the last call."""
        at = self._now()
        counted = [Refusal(at, "", "", key[0], "", "", *key[1:], count) for key, count in self._counted.items()]
        taken = self._refused + counted
        self._refused, self._counted = [], Counter()
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
