"""The rows.  Times are aware UTC, kept as microseconds since 1970; octets as they came."""

from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field

from relay.store.database.columns import BigId, CodePoints, Row, UtcTime, table_of


class Status(StrEnum):
    """Where a delivery stands."""

    QUEUED = "queued"
    DELIVERED = "delivered"
    DEFERRED = "deferred"
    BOUNCED = "bounced"
    EXPIRED = "expired"
    SUPPRESSED = "suppressed"

    @property
    def is_open(self) -> bool:
        return self in (Status.QUEUED, Status.DEFERRED)


class Message(Row):
    """Accepted once, with what its retries need: the envelope's parameters and the plan of edits."""

    __tablename__ = "message"
    id: str = Field(primary_key=True)
    accepted_at: datetime = Field(sa_type=UtcTime)
    message_id: str = ""  # the header field, without angle brackets
    author: str = ""
    subject: str = ""
    reverse_path: str = ""
    accepts_dsn: bool = False  # as far as the mail itself shows: neither bulk nor automatic, with a reverse-path
    size_octets: int = 0
    stream: str = ""
    tags: list[str] = Field(default_factory=list, sa_type=sa.JSON)
    meta: dict[str, str] = Field(default_factory=dict, sa_type=sa.JSON)
    links: list[dict[str, Any]] = Field(default_factory=list, sa_type=sa.JSON)  # Any: number and texts
    reasons: list[str] = Field(default_factory=list, sa_type=sa.JSON)
    pixels: int = 0
    plan: str = Field(default="", sa_type=sa.Text)
    body: str = ""
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""
    client: str = ""
    login: str = ""  # the user whose own credentials its attempts use upstream; "" is the upstream's configured ones
    expires_at: datetime = Field(sa_type=UtcTime)
    # Hits that are counted for the message and for no single delivery (`[privacy] mode = "aggregate"`).
    opens_human: int = 0
    opens_proxied: int = 0
    opens_machine: int = 0
    opens_unknown: int = 0
    clicks_human: int = 0
    clicks_machine: int = 0
    clicks_unknown: int = 0


class Content(Row):
    """A message's octets as they were accepted."""

    __tablename__ = "content"
    message: str = Field(primary_key=True)
    octets: bytes = Field(sa_type=sa.LargeBinary)
    in_file: bool = Field(False, sa_column_kwargs={"server_default": sa.false()})  # `queue.content_files` has them


class Delivery(Row):
    """Message × recipient: the unit of the queue. Counters move with the event that moves them."""

    __tablename__ = "delivery"
    message: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    recipient: str
    notify: str = ""
    orcpt: str = ""
    status: str = Status.QUEUED
    kind: str = ""
    category: str = ""
    attempts: int = 0
    next_attempt_at: datetime | None = Field(default=None, sa_type=UtcTime)
    leased_by: str = ""
    leased_until: datetime | None = Field(default=None, sa_type=UtcTime)
    stream: str = ""  # its message's: what is due is taken in turns
    crashes: int = 0  # processes that died attempting it, since it was last settled
    held_at: datetime | None = Field(default=None, sa_type=UtcTime)  # since when an operator holds it back
    dsn_due: str = ""  # the DSN that is still to be sent: failed | delayed | relayed
    dsn_sent: str = ""  # the last one, in the same words
    settled_at: datetime | None = Field(default=None, sa_type=UtcTime)
    delivered_at: datetime | None = Field(default=None, sa_type=UtcTime)  # stays when a bounce comes back later
    tracked: bool = True
    opens_human: int = 0
    opens_proxied: int = 0
    opens_machine: int = 0
    opens_unknown: int = 0
    opens_implied: int = 0  # of opens_human: not seen, but a person clicked
    clicks_human: int = 0
    clicks_machine: int = 0
    clicks_unknown: int = 0
    observations: list[Any] = Field(
        default_factory=list, sa_type=sa.JSON
    )  # Any: what relay.store.tracking.verdicts notes
    unsubscribed_at: datetime | None = Field(default=None, sa_type=UtcTime)
    complained_at: datetime | None = Field(default=None, sa_type=UtcTime)


class MessageLabel(Row):
    """A tag of a message, or one of its metadata, as messages are found by it (`relay.store.message_labels`)."""

    __tablename__ = "message_label"
    name: str = Field(primary_key=True)  # "tag", or "meta.NAME"
    value: str = Field(primary_key=True)
    message: str = Field(primary_key=True)


class MessageWord(Row):
    """A word of a message's texts or addresses, as messages are found by it (`relay.store.message_words`)."""

    __tablename__ = "message_word"
    # By code points on every database: a word is found by its beginning.
    word: str = Field(primary_key=True, sa_type=CodePoints)
    message: str = Field(primary_key=True)


class MessageWordDue(Row):
    """A message whose words are still to be stored."""

    __tablename__ = "message_word_due"
    message: str = Field(primary_key=True)


class Attempt(Row):
    """One try to hand a delivery to an upstream, and its reply. Code 0: there was no reply."""

    __tablename__ = "attempt"
    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    message: str
    number: int
    at: datetime = Field(sa_type=UtcTime)
    upstream: str
    phase: str
    code: int
    status: str = ""
    text: str = ""
    took_ms: int = 0
    rule: str = ""
    uncertain: bool = False  # it may have arrived


class EventRow(Row):
    """Something that happened, once: a second event of the same id is the same event."""

    __tablename__ = "event"
    id: str = Field(primary_key=True)
    type: str
    at: datetime = Field(sa_type=UtcTime)
    message: str = ""
    number: int | None = None
    recipient: str = ""
    verdict: str = ""
    reasons: list[str] = Field(default_factory=list, sa_type=sa.JSON)
    url: str = ""
    link: int = 0  # the link's number in the message, from 1
    user_agent: str = ""
    ip: str = ""
    detail: str = ""
    implies_open: bool = False  # a person's click that stands for an open too
    # The delivery's first by a person: it is counted among the unique ones. An implied open is one, too.
    first_open: bool = Field(default=False, sa_column_kwargs={"server_default": sa.false()})
    first_click: bool = Field(default=False, sa_column_kwargs={"server_default": sa.false()})
    first_of_link: bool = Field(default=False, sa_column_kwargs={"server_default": sa.false()})  # click of it


class Suppression(Row):
    """An address that gets no mail: of one stream, or none at all (`scope` "all")."""

    __tablename__ = "suppression"
    id: int | None = Field(default=None, primary_key=True)
    address: str  # relay.store.database.identities
    scope: str = "all"  # all | stream
    stream: str = ""
    reason: str = "manual"  # hard_bounce | unsubscribe | complaint | manual
    evidence: str = ""
    message: str = ""
    created_at: datetime = Field(sa_type=UtcTime)
    expires_at: datetime | None = Field(default=None, sa_type=UtcTime)


class ProcessedProviderEvent(Row):
    """A provider's event that is processed, by a digest of its own id: the same event again changes nothing."""

    __tablename__ = "processed_provider_event"
    id: str = Field(primary_key=True)
    at: datetime = Field(sa_type=UtcTime)


class SoftFailure(Row):
    """A soft failure that counts against an address if it comes again."""

    __tablename__ = "soft_failure"
    address: str = Field(primary_key=True)  # relay.store.database.identities
    category: str = Field(primary_key=True)
    first_at: datetime = Field(sa_type=UtcTime)
    last_at: datetime = Field(sa_type=UtcTime)


class Consent(Row):
    """Consent to tracking, or its refusal. Unsubscribes are apart from it."""

    __tablename__ = "consent"
    address: str = Field(primary_key=True)  # relay.store.database.identities
    is_yes: bool
    at: datetime = Field(sa_type=UtcTime)
    source: str  # recipient | api | header


class Destination(Row):
    """The destination of a link whose URL is too long for its token, sealed (`relay.store.queue.long_urls`)."""

    __tablename__ = "destination"
    name: str = Field(primary_key=True)
    sealed: bytes = Field(sa_type=sa.LargeBinary)
    used_at: datetime = Field(sa_type=UtcTime)


# Literals: of a parameter, SQLite cannot know that a partial index covers it.
_ZERO: sa.ColumnElement[int] = sa.literal_column("0")
_EMPTY: sa.ColumnElement[str] = sa.literal_column("''")
_FAILED: sa.ColumnElement[str] = sa.literal_column("('bounced', 'expired', 'suppressed')")
_CLICKED: sa.ColumnElement[str] = sa.literal_column("'clicked'")


# Core statements on the hot paths run on these (97 % of raw sqlite3's speed; `session.add` a third).
message = table_of(Message)
content = table_of(Content)
delivery = table_of(Delivery)
attempt = table_of(Attempt)
event = table_of(EventRow)
suppression = table_of(Suppression)
soft_failure = table_of(SoftFailure)
consent = table_of(Consent)
processed_provider_event = table_of(ProcessedProviderEvent)
destination = table_of(Destination)
message_label = table_of(MessageLabel, sqlite_with_rowid=False)
message_word = table_of(MessageWord, sqlite_with_rowid=False)
message_word_due = table_of(MessageWordDue, sqlite_with_rowid=False)

has_crashed = delivery.c.crashes > _ZERO
dsn_due_is_set = delivery.c.dsn_due != _EMPTY
has_dsn_due = sa.and_(
    dsn_due_is_set, delivery.c.dsn_due.in_(["failed", "delayed", "relayed"])
)  # with this list the index is used

has_failed = delivery.c.status.op("IN", is_comparison=True)(_FAILED)  # bounced, expired or suppressed
is_click = event.c.type == _CLICKED
# Recipients are kept as apps write them, and looked up in any case. SQLite lowers ASCII only, so it has to lower both
# sides: compare with `sa.func.lower(…)`.
lower_recipient = sa.func.lower(delivery.c.recipient)
