"""The values of an attempt: a loaded message, the recipients that it is for, and the tasks under way."""

import asyncio
from typing import NamedTuple

from relay.envelope import Recipient
from relay.rewrite.plan import Plan
from relay.store.database.rows import Message
from relay.store.queue.long_urls import LongUrlRows
from relay.store.queue.queue_facts import Outcome

AttemptTask = asyncio.Task[list[Outcome]]


class SendingMark:
    """Set before the first octet of a message goes out, while its client waits for the reply."""

    __slots__ = ("is_set",)

    def __init__(self) -> None:
        self.is_set = False


class PendingRecipient(NamedTuple):
    """A recipient of an attempt: the delivery's number, the address, and the number of attempts so far."""

    number: int
    recipient: Recipient
    attempts: int = 0


class LoadedMessage(NamedTuple):
    """A message with its plan and its octets in memory."""

    message: Message
    plan: Plan
    octets: bytes
    long_urls: LongUrlRows = ()  # the destinations that its links only refer to, to be stored with it


class Attempts(NamedTuple):
    """Attempts that have started: outcomes that need no attempt, and a task for each attempt under way."""

    outcomes: list[Outcome]
    tasks: list[AttemptTask]

    def cancel(self) -> None:
        """Cancels the attempts under way."""
        for task in self.tasks:
            task.cancel()
