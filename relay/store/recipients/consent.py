"""Consent to tracking, given or refused by recipients or on their behalf. Unsubscribes are apart from it.

A "no" also holds for mail already sent. With `[privacy] consent = "asked"`, only those who said yes are tracked.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from relay.store.database import identities, tables
from relay.store.database.name_lookup import NameLookup

RECIPIENT, API, HEADER = "recipient", "api", "header"


class ConsentChange(NamedTuple):
    """Consent of some addresses. `is_yes` None deletes what was recorded before."""

    mailboxes: list[str]
    at: datetime
    is_yes: bool | None
    source: str


def change_consent(connection: sa.Connection, change: ConsentChange) -> None:
    """Records consent. The last one counts, except that a mail's header does not overrule the recipient or the API."""
    table, policy = tables.consent, identities.policy_for(connection)
    for mailbox in change.mailboxes:
        is_this_address = table.c.address.in_(policy.possible_names(mailbox))
        before = connection.execute(sa.select(table.c.is_yes, table.c.source).where(is_this_address)).first()
        if not mailbox or (change.source == HEADER and before and before.source != HEADER):
            continue
        if before and (before.is_yes, before.source) == (change.is_yes, change.source):
            continue
        connection.execute(sa.delete(table).where(is_this_address))
        if change.is_yes is not None:
            row = {
                "address": policy.stored_name(mailbox),
                "is_yes": change.is_yes,
                "at": change.at,
                "source": change.source,
            }
            connection.execute(sa.insert(table), row)


def find_consent(connection: sa.Connection, mailbox: str) -> sa.RowMapping | None:
    """`is_yes`, `at` and `source` of the last answer; None if there is none."""
    table = tables.consent
    entries = sa.select(table).where(table.c.address.in_(identities.policy_for(connection).possible_names(mailbox)))
    return connection.execute(entries).mappings().first()


def opted_out_themselves(connection: sa.Connection, mailbox: str) -> bool:
    """True if the recipient refused, and not an app for the recipient."""
    answer = find_consent(connection, mailbox)
    return answer is not None and not answer["is_yes"] and answer["source"] == RECIPIENT


_ANSWERS = NameLookup(tables.consent, "address", "is_yes")


def find_untracked(connection: sa.Connection, mailboxes: Iterable[str]) -> set[str]:
    """Which of the addresses are not to be tracked, as canonical addresses."""
    policy = identities.policy_for(connection)
    canonical_by_name = policy.canonical_by_name(mailboxes)
    answers = find_answers(connection, canonical_by_name)
    return untracked_among(canonical_by_name.values(), answers, is_required=policy.requires_consent)


def find_answers(connection: sa.Connection, canonical_by_name: Mapping[str, str]) -> dict[str, bool]:
    """The answers recorded under these names, by canonical address."""
    found: dict[str, bool] = {}
    for name, is_yes in _ANSWERS.find(connection, canonical_by_name):
        canonical = canonical_by_name[name]
        found[canonical] = is_yes and found.get(canonical, True)  # a no under any name counts
    return found


def untracked_among(addresses: Iterable[str], answers: Mapping[str, bool], *, is_required: bool) -> set[str]:
    """Which of these canonical addresses are not to be tracked."""
    return {who for who in addresses if not answers.get(who, not is_required)}
