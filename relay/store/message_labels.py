"""Labels: the tags and metadata of messages, as rows that messages are found by.

In: messages.  Out: rows of name, value and message, in lower case. The message's own row has the texts as the app wrote
them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from relay.store.database import tables

TAG = "tag"
_META = "meta."
MAX_LABEL = 200  # characters of a name or a value; what is longer is found by its beginning
_INSERT = sa.insert(tables.message_label)


def metadata_label(name: str) -> str:
    """The label's name for that name of metadata."""
    return (_META + name).lower()[:MAX_LABEL]


def label_value(text: str) -> str:
    """A tag or a value of metadata, as its label has it."""
    return text.lower()[:MAX_LABEL]


def insert_labels(connection: sa.Connection, messages: Iterable[Mapping[str, Any]]) -> None:
    """Adds the labels of new messages, which are given as rows."""
    rows = [
        {"name": name, "value": value, "message": message["id"]}
        for message in messages
        if message["tags"] or message["meta"]
        for name, value in _labels_of(message)
    ]
    if rows:
        connection.execute(_INSERT, rows)


def replace_labels(connection: sa.Connection, message: Mapping[str, Any]) -> None:
    """Gives a message the labels of its row as it is now."""
    delete_labels(connection, [message["id"]])
    insert_labels(connection, [message])


def delete_labels(connection: sa.Connection, messages: Sequence[str]) -> None:
    table = tables.message_label
    connection.execute(sa.delete(table).where(table.c.message.in_(messages)))


def _labels_of(message: Mapping[str, Any]) -> set[tuple[str, str]]:
    return {(TAG, label_value(tag)) for tag in message["tags"]} | {
        (metadata_label(name), label_value(str(value))) for name, value in message["meta"].items()
    }
