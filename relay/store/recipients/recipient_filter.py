"""Which recipients of a message are suppressed, and which are not tracked: for all messages that ask at once."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from relay import address
from relay.store.database import identities
from relay.store.recipients import consent, suppressions


class Question(NamedTuple):
    """The recipients of a message of that stream. `exempt`: unsubscribes do not hold its mail back."""

    mailboxes: tuple[str, ...]
    stream: str
    exempt: bool
    now: datetime


class RecipientFilter(NamedTuple):
    """By canonical address: the reason of a suppression, and the addresses that are not tracked."""

    suppressed: dict[str, str]
    untracked: set[str]


def find_filters(connection: sa.Connection, questions: Sequence[Question]) -> list[RecipientFilter]:
    """The filter for each message, in order, with a statement for each table."""
    policy = identities.policy_for(connection)
    canonical_by_name = policy.canonical_by_name(mailbox for question in questions for mailbox in question.mailboxes)
    entries = suppressions.find_entries(connection, canonical_by_name)
    answers = consent.find_answers(connection, canonical_by_name)
    filters: list[RecipientFilter] = []
    for question in questions:
        addresses = {address.canonical(mailbox) for mailbox in question.mailboxes}
        theirs = {who: entries[who] for who in addresses & entries.keys()} if entries else {}
        suppressed = suppressions.suppressed_among(theirs, question.stream, question.now, exempt=question.exempt)
        untracked = consent.untracked_among(addresses, answers, is_required=policy.requires_consent)
        filters.append(RecipientFilter(suppressed, untracked))
    return filters
