"""Which recipients of a message are suppressed, and which are not tracked, also while the database is unavailable."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from relay import address
from relay.address import Mailbox
from relay.config.schema import Config
from relay.store.database import errors
from relay.store.database.rows import Message
from relay.store.recipients.recipient_filter import Question, RecipientFilter
from relay.store.store import Store


async def find(
    store: Store, config: Config, message: Message, mailboxes: Sequence[Mailbox], now: datetime, *, is_awaited: bool
) -> RecipientFilter:
    """The filter for these recipients.

    If the database is unavailable, mail is sent nevertheless: nobody is suppressed, and with `consent = "asked"` nobody
    is tracked. `is_awaited`: a client waits, so that a database that hangs counts as unavailable; otherwise this waits.
    """
    exempt = config.unsubscribe.is_exempt(message.stream)
    question = Question(tuple(mailboxes), message.stream, exempt, now)
    try:
        return await (store.filters_in_time if is_awaited else store.filters).ask(question)
    except TimeoutError:
        pass
    except sa.exc.SQLAlchemyError as error:
        errors.log_failure(error, "suppressions", message.id)
    is_asked = config.privacy.consent == "asked"
    return RecipientFilter({}, {address.canonical(mailbox) for mailbox in mailboxes} if is_asked else set())
