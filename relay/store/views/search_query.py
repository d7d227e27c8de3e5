"""A search for messages, read from the text of a search box.

In: `to:ann@example.com status:bounced after:7d "order 1047"`.  Out: a MessageSearch. The console's box, the API's `q`
and the command line read it here. An operator stands before a colon; a value with spaces stands in quotes; what has no
operator is a word.
"""

import re
from datetime import datetime
from typing import NamedTuple

from relay import moments
from relay.config import values
from relay.store.database.tables import Status

MAX_TEXT = 500  # characters of a search
MAX_TERMS = 20
OPERATORS = ("to", "from", "subject", "tag", "meta.NAME", "status", "stream", "id", "before", "after")
_TERM = re.compile(r'(?:[^\s"]++|"[^"]*+"?)++')
_OPERATOR = re.compile(r"(to|from|subject|tag|status|stream|id|before|after|meta\.[^:\s\"]{1,100}):(.*)", re.DOTALL)


class SearchSyntaxError(ValueError):
    """The search cannot be read; the text says which part, and what to write."""


class MessageSearch(NamedTuple):
    """A search for messages: all conditions must hold. Empty: every message."""

    words: tuple[str, ...] = ()  # each in subject, author, Message-ID or a recipient
    recipients: tuple[str, ...] = ()  # each a whole address, or a part of one
    authors: tuple[str, ...] = ()  # each a part of the From field
    subjects: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()  # names and values
    statuses: tuple[Status, ...] = ()  # a delivery has one of them; where a recipient is named, that one's
    streams: tuple[str, ...] = ()  # one of them
    message_ids: tuple[str, ...] = ()  # of the header, or our own; one of them
    since: datetime | None = None
    until: datetime | None = None  # before then

    def joined_with(self, other: "MessageSearch") -> "MessageSearch":
        """A search in which both hold. Alternatives (`statuses`, `streams`, `message_ids`) become more."""
        both = {name: getattr(self, name) + getattr(other, name) for name in self._fields[:-2]}
        since = max((at for at in (self.since, other.since) if at), default=None)
        until = min((at for at in (self.until, other.until) if at), default=None)
        return MessageSearch(**both, since=since, until=until)


def parse_search(text: str, now: datetime) -> MessageSearch:
    """Parses the text. Raises SearchSyntaxError. `now` is what `after:7d` counts from."""
    if len(text) > MAX_TEXT:
        raise SearchSyntaxError(f"a search has at most {MAX_TEXT} characters")
    terms = _TERM.findall(text.replace("\x00", " "))
    if len(terms) > MAX_TERMS:
        raise SearchSyntaxError(f"a search has at most {MAX_TERMS} terms")
    found = MessageSearch()
    for term in terms:
        found = found.joined_with(_parse_term(term, now))
    return found


def _parse_term(term: str, now: datetime) -> MessageSearch:
    operator = _OPERATOR.fullmatch(term)
    name, value = (operator[1], operator[2].replace('"', "").strip()) if operator else ("", term.replace('"', ""))
    if operator and not value:
        raise SearchSyntaxError(f"{name}: says nothing after the colon")
    if name.startswith("meta."):
        return MessageSearch(metadata=((name.removeprefix("meta."), value),))
    try:
        match name:
            case "to":
                return MessageSearch(recipients=(value.removeprefix("<").removesuffix(">"),))
            case "from":
                return MessageSearch(authors=(value,))
            case "subject":
                return MessageSearch(subjects=(value,))
            case "tag":
                return MessageSearch(tags=(value,))
            case "status":
                return MessageSearch(statuses=(read_status(value.lower()),))
            case "stream":
                return MessageSearch(streams=(values.read_stream(value),))
            case "id":
                return MessageSearch(message_ids=(value,))
            case "before":
                return MessageSearch(until=moments.read_moment(value, now))
            case "after":
                return MessageSearch(since=moments.read_moment(value, now))
    except ValueError as error:
        raise SearchSyntaxError(f"{name}: {error}") from None
    word = value.strip().removeprefix("<").removesuffix(">")
    return MessageSearch(words=(word,)) if word else MessageSearch()


def read_status(text: str) -> Status:
    """A delivery's status. Raises ValueError."""
    try:
        return Status(text)
    except ValueError:
        raise ValueError(f"there is no status {text!r}; one of {', '.join(Status)}") from None
