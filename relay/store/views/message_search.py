"""Which messages a search finds: their ids, a page at a time, the newest first.

One condition, the one that an index answers best, leads through the messages; the others are looked up for each of
these. Words lead by their index; what is no beginning of a word is looked for in the latest messages. A page looks at
no more than MAX_SCANNED, so that no search takes long: a page may have few items, or none, and a cursor to go on with.
"""

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from relay import ids
from relay.store import message_labels, message_words
from relay.store.database import identities, row_pages, tables
from relay.store.database.tables import Status
from relay.store.views.search_query import MessageSearch

MAX_SCANNED = 20_000  # messages a page
_MAX_TEXTS = 5_000  # messages, if texts are looked through for words
_FAILED = (Status.BOUNCED, Status.EXPIRED, Status.SUPPRESSED)

Condition = sa.ColumnElement[bool]


class FoundMessages(NamedTuple):
    """A page of ids; `next` is the cursor of the older ones, "" at the end."""

    ids: list[str]
    next: str


class _Part(NamedTuple):
    """A condition on a message's row. `index_lookup`: a column with messages' ids, and the condition on its rows that
    finds the same messages by an index."""

    condition: Condition
    index_lookup: tuple[sa.ColumnElement[str], Condition] | None = None


def find_messages(connection: sa.Connection, search: MessageSearch, limit: int, before: str = "") -> FoundMessages:
    """Messages that the search finds, older than the cursor `before`."""
    search = _read_addresses(connection, search)
    parts = _parts(connection, search)
    if search.words and not search.message_ids and not any(map(is_address, search.recipients)):
        found_by_words = _find_by_words(connection, search, parts, limit, before)
        if found_by_words is not None:
            return found_by_words
    leading = next((part for part in parts if part.index_lookup), None)
    message, lead = (leading.index_lookup if leading else None) or (tables.message.c.id, sa.true())
    rest = [part.condition for part in parts if part is not leading]
    span = [lead, *row_pages.time_span(message, search.since, search.until)]
    if before:
        span.append(message < before)
    end = ""  # the page looks no further back
    if rest:
        scanned = sa.select(message).where(*span).order_by(message.desc())
        most = min(MAX_SCANNED, _MAX_TEXTS) if search.words else MAX_SCANNED
        end = connection.scalar(scanned.offset(most).limit(1)) or ""
        if end:
            span.append(message >= end)
    wanted = sa.select(message).distinct().where(*span, *rest).order_by(message.desc()).limit(limit + 1)
    if rest and message is not tables.message.c.id:
        wanted = wanted.join(tables.message, tables.message.c.id == message)
    found = list(connection.scalars(wanted))
    if len(found) > limit:
        return FoundMessages(found[:limit], found[limit - 1])
    return FoundMessages(found, end)


def _find_by_words(
    connection: sa.Connection, search: MessageSearch, parts: Sequence[_Part], limit: int, before: str
) -> FoundMessages | None:
    """The same by the index of words; None if no stored word begins like one of the search's words."""
    message, found, scanned = tables.message, list[str](), 0
    since = ids.lowest_at(search.since) if search.since else None
    until = ids.lowest_at(search.until) if search.until else ""
    end = min(filter(None, (before, until)), default="")
    while scanned < MAX_SCANNED:
        some = message_words.find_candidates(connection, search.words, since, end)
        if some is None:
            return None
        wanted = sa.select(message.c.id).where(message.c.id.in_(some.ids), *(part.condition for part in parts))
        found += connection.scalars(wanted.order_by(message.c.id.desc()))
        if len(found) > limit:
            return FoundMessages(found[:limit], found[limit - 1])
        scanned, end = scanned + len(some.ids), some.end
        if not end:
            break
    return FoundMessages(found, end)


def matches_recipient(connection: sa.Connection, mailbox: str) -> Condition:
    """Deliveries to that address, in any spelling, and under its pseudonym."""
    names = {mailbox, *identities.policy_for(connection).possible_names(mailbox)}
    return tables.lower_recipient.in_(map(sa.func.lower, sorted(names)))


def recipient_condition(connection: sa.Connection, text: str) -> Condition:
    """Deliveries to that address, or to an address that contains the text."""
    if is_address(text):
        return matches_recipient(connection, text)
    return tables.delivery.c.recipient.icontains(text, autoescape=True)


def is_address(text: str) -> bool:
    """True for a whole address or a pseudonym, False for a part of an address."""
    local, at, domain = text.partition("@")
    is_domain = "." in domain.strip(".") or domain.lower() == "localhost"
    return bool(local and at and is_domain) or identities.is_pseudonym(text)


def events_of(stream: str, tag: str) -> list[Condition]:
    """Events whose message has that stream and that tag; empty is any."""
    event, message = tables.event, tables.message
    found: list[Condition] = []
    if stream:
        found.append(sa.exists().where(message.c.id == event.c.message, message.c.stream == stream))
    if tag:
        found.append(has_tag(event.c.message, tag))
    return found


def has_tag(message: sa.ColumnElement[str], tag: str) -> Condition:
    """Rows whose message, in that column, has the tag."""
    label = tables.message_label
    is_tag = (label.c.name == message_labels.TAG, label.c.value == message_labels.label_value(tag))
    return sa.exists().where(label.c.message == message, *is_tag)


def _read_addresses(connection: sa.Connection, search: MessageSearch) -> MessageSearch:
    """The search with each word that is an address as what it is: of a recipient or a Message-ID, where there is one;
    else it stays a word."""
    words, recipients, message_ids = [], list(search.recipients), list(search.message_ids)
    message, delivery = tables.message, tables.delivery
    for word in search.words:
        if not is_address(word):
            words.append(word)
        elif connection.scalar(sa.select(delivery.c.message).where(matches_recipient(connection, word)).limit(1)):
            recipients.append(word)
        elif connection.scalar(sa.select(message.c.id).where(_has_message_id([word])).limit(1)):
            message_ids.append(word)
        else:
            words.append(word)
    return search._replace(words=tuple(words), recipients=tuple(recipients), message_ids=tuple(message_ids))


def _parts(connection: sa.Connection, search: MessageSearch) -> list[_Part]:
    """The conditions of the search. The first one is the best to scan by."""
    message, delivery, label = tables.message, tables.delivery, tables.message_label
    parts: list[_Part] = []
    if search.message_ids:
        condition = _has_message_id(search.message_ids)
        parts.append(_Part(condition, (message.c.id, condition)))
    status = _status_conditions(search)
    for recipient in search.recipients:
        condition = sa.and_(recipient_condition(connection, recipient), *status)
        lead = (delivery.c.message, condition) if is_address(recipient) else None
        parts.append(_Part(_any_delivery(condition), lead))
    for name, value in (
        *((message_labels.metadata_label(name), value) for name, value in search.metadata),
        *((message_labels.TAG, tag) for tag in search.tags),
    ):
        condition = sa.and_(label.c.name == name, label.c.value == message_labels.label_value(value))
        has_label = sa.exists().where(label.c.message == message.c.id, condition).correlate(message)
        parts.append(_Part(has_label, (label.c.message, condition)))
    if status and not search.recipients:
        condition = sa.and_(*status)
        is_rare = len(search.statuses) == 1 and search.statuses[0] is not Status.DELIVERED
        parts.append(_Part(_any_delivery(condition), (delivery.c.message, condition) if is_rare else None))
    if search.streams:
        condition = message.c.stream.in_(search.streams)
        parts.append(_Part(condition, (message.c.id, condition) if len(search.streams) == 1 else None))
    for column, texts in ((message.c.author, search.authors), (message.c.subject, search.subjects)):
        parts += [_Part(column.icontains(text, autoescape=True)) for text in texts]
    return [*parts, *(_Part(_has_word(connection, word)) for word in search.words)]


def _status_conditions(search: MessageSearch) -> list[Condition]:
    delivery = tables.delivery
    if not search.statuses:
        return []
    conditions: list[Condition] = [delivery.c.status.in_(search.statuses)]
    # What SQLite has to read in the statement to follow the index that has these deliveries only.
    if all(status in _FAILED for status in search.statuses):
        conditions.append(tables.has_failed)
    elif all(status.is_open for status in search.statuses):
        conditions.append(delivery.c.next_attempt_at.is_not(None))
    return conditions


def _has_message_id(texts: Sequence[str]) -> Condition:
    bare = [text.removeprefix("<").removesuffix(">") for text in texts]
    message = tables.message
    # As the app wrote it, or as we made it. Our own id too.
    return sa.or_(
        message.c.message_id.in_([*bare, *(f"<{text}>" for text in bare)]),
        message.c.id.in_(bare),
    )


def _has_word(connection: sa.Connection, word: str) -> Condition:
    message = tables.message
    texts = (message.c.subject, message.c.author, message.c.message_id)
    recipients = [_any_delivery(tables.delivery.c.recipient.icontains(word, autoescape=True))]
    if is_address(word):
        recipients.append(
            _any_delivery(tables.delivery.c.recipient == identities.policy_for(connection).pseudonym(word))
        )
    return sa.or_(*(text.icontains(word, autoescape=True) for text in texts), *recipients)


def _any_delivery(condition: Condition) -> Condition:
    return sa.exists().where(tables.delivery.c.message == tables.message.c.id, condition).correlate(tables.message)
