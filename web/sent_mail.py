"""Makes a mail again as one recipient got it, from the original and its edits.

In: a message's id and the recipient's number.  Out: the octets as they came and as they were sent, and the edits
between the two.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from relay import tokens
from relay.config.schema import Config
from relay.edits import Edit, splice
from relay.rewrite import dkim
from relay.store.database.rows import Delivery, Message
from relay.store.queue import deliveries
from relay.store.store import Store
from web import mail_view

T = TypeVar("T")
_MAX_CONCURRENT = 2  # mails at a time, because the same process answers links and pixels
_MAX_NUMBER = 1 << 31  # what an INTEGER column holds


class SentMail(NamedTuple):
    """What one recipient got."""

    message: Message
    delivery: Delivery
    received: bytes
    edits: list[Edit]
    octets: bytes  # as sent


class SentMailReader:
    """Makes sent mails again, a few at a time."""

    def __init__(self, config: Config, store: Store, ring: tokens.KeyRing) -> None:
        self._store = store
        self._minter = tokens.Minter(ring, config.tracking.public_url, config.privacy.has_recipient_tokens)
        self._signer = dkim.Signer(config.dkim.key)
        self._slots = asyncio.Semaphore(_MAX_CONCURRENT)

    async def read_mail(self, message_id: str, number: int, *, is_live: bool = True) -> SentMail | None:
        """The mail; None if there is no such delivery, or its octets were deleted. Without `is_live` its links and its
        pixel count nothing: somebody looks at the mail who is not the recipient."""
        if number >= _MAX_NUMBER:
            return None
        fetched, delivery = await self._store.read(
            lambda connection: (
                deliveries.find_with_content(connection, message_id),
                deliveries.find_delivery(connection, message_id, number),
            )
        )
        if fetched is None or delivery is None:
            return None
        message, received = fetched

        def make() -> SentMail:
            made = mail_view.edits_for_recipient(
                message, received, self._minter, self._signer, number, tracked=delivery.tracked, is_live=is_live
            )
            return SentMail(message, delivery, received, made, splice(received, made))

        return await self.compute(make)

    async def compute(self, work: Callable[[], T]) -> T:
        """Runs work that reads a mail on a thread; the others wait while two are running."""
        async with self._slots:
            return await asyncio.to_thread(work)
