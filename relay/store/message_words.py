"""The words that messages are found by: of subject and author, and the parts of their addresses.

In: messages.  Out: rows of word and message. A commit that stores a message notes that its words are due; they are
stored a moment later, many messages together, so that the mail does not wait for them. Of recipients that are not
stored as addresses there are no words.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from heapq import merge
from itertools import groupby
from typing import NamedTuple

import sqlalchemy as sa

from relay import address
from relay.store.database import bulk_statement, columns, identities, tables

_MAX_DUE = 200  # messages a commit: mail waits meanwhile
_MAX_WORD = 64  # characters
_MAX_WORDS = 1_000  # of a message
_MAX_EXPANDED = 300  # words that begin as the one that is looked for
_MAX_CANDIDATES = 300  # of a word, at once
_WORD = re.compile(r"\w+")
_LAST_CHARACTER = "\U0010ffff"
# One statement takes PostgreSQL a third of the time of one for each word.
_INSERT_WORDS = """INSERT INTO message_word (word, message) SELECT * FROM unnest(%s::text[], %s::text[])
    ON CONFLICT DO NOTHING"""
_DELETE_WORDS = """DELETE FROM message_word AS stored USING unnest(%s::text[], %s::text[]) AS gone (word, message)
    WHERE stored.word = gone.word COLLATE "C" AND stored.message = gone.message"""
_INSERT_DUE = bulk_statement.insert_into(tables.message_word_due)


class Candidates(NamedTuple):
    """Messages that may have a word, the newest first; `end`: those before it are not among them yet, "" if none."""

    ids: list[str]
    end: str


def mark_due(connection: sa.Connection, messages: Sequence[str]) -> None:
    """Notes that the words of new messages are to be stored."""
    _INSERT_DUE.run(connection, [{"message": message} for message in messages])


def has_due(connection: sa.Connection) -> bool:
    return connection.execute(sa.select(tables.message_word_due.c.message).limit(1)).first() is not None


def store_due_words(connection: sa.Connection) -> int:
    """Stores the words of some messages for which it is due. Returns how many; call again until it returns 0."""
    due, word = tables.message_word_due, tables.message_word
    wanted = sa.select(due.c.message).order_by(due.c.message).limit(_MAX_DUE).with_for_update(skip_locked=True)
    messages = list(connection.scalars(wanted))
    if not messages:
        return 0
    # In the order of the key: neighbours are on one page.
    rows = sorted(_read_words(connection, messages))
    if rows and connection.dialect.name == "postgresql":
        connection.exec_driver_sql(_INSERT_WORDS, _by_column(rows))
    elif rows:
        insert = columns.insert_into(connection, word).on_conflict_do_nothing()
        connection.execute(insert, [{"word": text, "message": message} for text, message in rows])
    connection.execute(sa.delete(due).where(due.c.message.in_(messages)))
    return len(messages)


def delete_words(connection: sa.Connection, messages: Sequence[str]) -> None:
    """Deletes the words of messages. Call it while the messages are still there, as they were."""
    due, word = tables.message_word_due, tables.message_word
    connection.execute(sa.delete(due).where(due.c.message.in_(messages)))
    rows = list(_read_words(connection, messages))
    if rows and connection.dialect.name == "postgresql":
        connection.exec_driver_sql(_DELETE_WORDS, _by_column(rows))
    elif rows:
        mine = word.c.word == sa.bindparam("of_word"), word.c.message == sa.bindparam("of_message")
        connection.execute(
            sa.delete(word).where(*mine), [{"of_word": text, "of_message": message} for text, message in rows]
        )


def find_candidates(
    connection: sa.Connection, words: Sequence[str], since: str | None, before: str | None
) -> Candidates | None:
    """Messages that may have the rarest of the words, or one that begins like it, from the id `since` on and older than
    `before`. None if no message has such a word, or if too many different words begin like it."""
    expanded = [found for word in words if (found := _expand(connection, word))]
    if not expanded:
        return None
    table, due = tables.message_word, tables.message_word_due
    lists: list[list[str]] = []
    end = ""
    sources = [sa.select(table.c.message).where(table.c.word == word) for word in min(expanded, key=len)]
    for source in (*sources, sa.select(due.c.message)):
        column = source.selected_columns[0]
        wanted = source.order_by(column.desc()).limit(_MAX_CANDIDATES)
        wanted = wanted.where(column >= since) if since else wanted
        found = list(connection.scalars(wanted.where(column < before) if before else wanted))
        if len(found) == _MAX_CANDIDATES:
            end = max(end, found[-1])
        lists.append(found)
    ids = [message for message, _ in groupby(merge(*lists, reverse=True)) if message >= end]
    return Candidates(ids, end)


def _expand(connection: sa.Connection, word: str) -> list[str]:
    """The stored words of which one is in each text that has this one at the beginning of a word; none if unknown."""
    text = _fold(word)
    looked_for = max(_WORD.findall(text), key=len, default="")
    if "@" in text or ("." in text and not text.endswith(".")):
        domain = text.rpartition("@")[2]
        found = _words_from(connection, f"@{domain}"[:_MAX_WORD])
        if found:
            return found
    return _words_from(connection, looked_for[:_MAX_WORD]) if looked_for else []


def _words_from(connection: sa.Connection, start: str) -> list[str]:
    """The stored words that begin so; none if there are too many."""
    column = tables.message_word.c.word
    found: list[str] = []
    after = sa.select(sa.func.min(column)).where(column < start + _LAST_CHARACTER)
    word = connection.scalar(after.where(column >= start))
    while word is not None:
        found.append(word)
        if len(found) > _MAX_EXPANDED:
            return []
        word = connection.scalar(after.where(column > word))
    return found


def _by_column(rows: Sequence[tuple[str, str]]) -> tuple[list[str], ...]:
    return tuple(map(list, zip(*rows, strict=True)))


def _read_words(connection: sa.Connection, messages: Sequence[str]) -> Iterable[tuple[str, str]]:
    """Words of messages, each with its message."""
    message, delivery = tables.message, tables.delivery
    recipients: dict[str, list[str]] = {}
    if not identities.policy_for(connection).redacts:
        named = sa.select(delivery.c.message, delivery.c.recipient).where(delivery.c.message.in_(messages))
        for one in connection.execute(named):
            recipients.setdefault(one.message, []).append(one.recipient)
    texts = sa.select(message.c.id, message.c.subject, message.c.author).where(message.c.id.in_(messages))
    for row in connection.execute(texts):
        for text in words_of(row.subject, row.author, recipients.get(row.id, ())):
            yield text, row.id


def words_of(subject: str, author: str, recipients: Sequence[str]) -> set[str]:
    """The words of a message, in lower case. Of an address: its local part, and its domain with the @."""
    words = set(_WORD.findall(_fold(f"{subject} {author}")))
    for mailbox in (author, *recipients):
        if "@" in mailbox and not identities.is_pseudonym(mailbox):
            words |= {_fold(mailbox.rpartition("@")[0]), f"@{address.domain(mailbox)}"}
    some = sorted(word[:_MAX_WORD] for word in words if word)
    return set(some[:_MAX_WORDS])


def _fold(text: str) -> str:
    return unicodedata.normalize("NFC", text).lower()
