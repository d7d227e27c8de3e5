"""Which recipients of a message are suppressed, and which are not tracked."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from relay import address
from relay.address import Mailbox
from relay.config.schema import Config
from relay.store.database import errors
from relay.store.database.tables import Message
from relay.store.recipients import consent, suppressions
from relay.store.store import Store


class RecipientFilter(NamedTuple):
    """By canonical address: the reason of a suppression, and the addresses that are not tracked."""

    suppressed: dict[str, str]
    untracked: set[str]


async def find(
    store: Store, config: Config, message: Message, mailboxes: Sequence[Mailbox], now: datetime, *, is_awaited: bool
) -> RecipientFilter:
    """The filter for these recipients.

    If the database is unavailable, mail is sent nevertheless: nobody is suppressed, and with `consent = "asked"` nobody
    is tracked. `is_awaited`: a client waits, so that a database that hangs counts as unavailable; otherwise this waits.
    """
    exempt = config.unsubscribe.is_exempt(message.stream)

    def look_up(connection: sa.Connection) -> RecipientFilter:
        return RecipientFilter(
            suppressions.find_suppressed(connection, mailboxes, message.stream, now, exempt=exempt),
            consent.find_untracked(connection, mailboxes),
        )

    try:
        return await (store.read_in_time(look_up) if is_awaited else store.read(look_up))
    except TimeoutError:
        pass
    except sa.exc.SQLAlchemyError as error:
        errors.log_failure(error, "suppressions", message.id)
    is_asked = config.privacy.consent == "asked"
    return RecipientFilter({}, {address.canonical(mailbox) for mailbox in mailboxes} if is_asked else set())
