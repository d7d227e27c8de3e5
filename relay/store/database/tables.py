"""The tables of mail.  Times are aware UTC, kept as microseconds since 1970; octets as they came."""

from enum import StrEnum

import sqlalchemy as sa

from relay.store.database.columns import BigId, CodePoints, UtcTime, column, key, metadata, nullable


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


# Accepted once, with what its retries need: the envelope's parameters and the plan of edits.
message = sa.Table(
    "message",
    metadata,
    key("id", sa.String),
    column("accepted_at", UtcTime),
    column("message_id", sa.String, default=""),  # the header field, without angle brackets
    column("author", sa.String, default=""),
    column("subject", sa.String, default=""),
    column("reverse_path", sa.String, default=""),
    # as far as the mail itself shows: neither bulk nor automatic, with a reverse-path
    column("accepts_dsn", sa.Boolean, default=False),
    column("size_octets", sa.Integer, default=0),
    column("stream", sa.String, default=""),
    column("tags", sa.JSON, default=list),
    column("meta", sa.JSON, default=dict),
    column("links", sa.JSON, default=list),  # of each its number and texts
    column("reasons", sa.JSON, default=list),
    column("pixels", sa.Integer, default=0),
    column("plan", sa.Text, default=""),
    column("body", sa.String, default=""),
    column("smtputf8", sa.Boolean, default=False),
    column("ret", sa.String, default=""),
    column("envid", sa.String, default=""),
    column("client", sa.String, default=""),
    # the user whose own credentials its attempts use upstream; "" is the upstream's configured ones
    column("login", sa.String, default=""),
    column("expires_at", UtcTime),
    # Hits that are counted for the message and for no single delivery (`[privacy] mode = "aggregate"`).
    column("opens_human", sa.Integer, default=0),
    column("opens_proxied", sa.Integer, default=0),
    column("opens_machine", sa.Integer, default=0),
    column("opens_unknown", sa.Integer, default=0),
    column("clicks_human", sa.Integer, default=0),
    column("clicks_machine", sa.Integer, default=0),
    column("clicks_unknown", sa.Integer, default=0),
)

# A message's octets as they were accepted.
content = sa.Table(
    "content",
    metadata,
    key("message", sa.String),
    column("octets", sa.LargeBinary),
    column("in_file", sa.Boolean, default=False, server_default=sa.false()),  # `queue.content_files` has them
)

# Message × recipient: the unit of the queue. Counters move with the event that moves them.
delivery = sa.Table(
    "delivery",
    metadata,
    key("message", sa.String),
    key("number", sa.Integer),
    column("recipient", sa.String),
    column("notify", sa.String, default=""),
    column("orcpt", sa.String, default=""),
    column("status", sa.String, default=Status.QUEUED),
    column("kind", sa.String, default=""),
    column("category", sa.String, default=""),
    column("attempts", sa.Integer, default=0),
    nullable("next_attempt_at", UtcTime),
    column("leased_by", sa.String, default=""),
    nullable("leased_until", UtcTime),
    column("stream", sa.String, default=""),  # its message's: what is due is taken in turns
    column("crashes", sa.Integer, default=0),  # processes that died attempting it, since it was last settled
    nullable("held_at", UtcTime),  # since when an operator holds it back
    column("dsn_due", sa.String, default=""),  # the DSN that is still to be sent: failed | delayed | relayed
    column("dsn_sent", sa.String, default=""),  # the last one, in the same words
    nullable("settled_at", UtcTime),
    nullable("delivered_at", UtcTime),  # stays when a bounce comes back later
    column("tracked", sa.Boolean, default=True),
    column("opens_human", sa.Integer, default=0),
    column("opens_proxied", sa.Integer, default=0),
    column("opens_machine", sa.Integer, default=0),
    column("opens_unknown", sa.Integer, default=0),
    column("opens_implied", sa.Integer, default=0),  # of opens_human: not seen, but a person clicked
    column("clicks_human", sa.Integer, default=0),
    column("clicks_machine", sa.Integer, default=0),
    column("clicks_unknown", sa.Integer, default=0),
    column("observations", sa.JSON, default=list),  # what `relay.store.tracking.verdicts` notes
    nullable("unsubscribed_at", UtcTime),
    nullable("complained_at", UtcTime),
)

# A tag of a message, or one of its metadata, as messages are found by it (`relay.store.message_labels`).
message_label = sa.Table(
    "message_label",
    metadata,
    key("name", sa.String),  # "tag", or "meta.NAME"
    key("value", sa.String),
    key("message", sa.String),
    sqlite_with_rowid=False,
)

# A word of a message's texts or addresses, as messages are found by it (`relay.store.message_words`).
message_word = sa.Table(
    "message_word",
    metadata,
    # By code points on every database: a word is found by its beginning.
    key("word", CodePoints),
    key("message", sa.String),
    sqlite_with_rowid=False,
)

# A message whose words are still to be stored.
message_word_due = sa.Table(
    "message_word_due",
    metadata,
    key("message", sa.String),
    sqlite_with_rowid=False,
)

# One try to hand a delivery to an upstream, and its reply. Code 0: there was no reply.
attempt = sa.Table(
    "attempt",
    metadata,
    key("id", BigId),
    column("message", sa.String),
    column("number", sa.Integer),
    column("at", UtcTime),
    column("upstream", sa.String),
    column("phase", sa.String),
    column("code", sa.Integer),
    column("status", sa.String, default=""),
    column("text", sa.String, default=""),
    column("took_ms", sa.Integer, default=0),
    column("rule", sa.String, default=""),
    column("uncertain", sa.Boolean, default=False),  # it may have arrived
    # As `relay.conversation` writes it; empty where the mail was delivered. The last column: SQLite reads a long row as
    # far as it must.
    column("conversation", sa.Text, default="", server_default=""),
)

# Something that happened, once: a second event of the same id is the same event.
event = sa.Table(
    "event",
    metadata,
    key("id", sa.String),
    column("type", sa.String),
    column("at", UtcTime),
    column("message", sa.String, default=""),
    nullable("number", sa.Integer),
    column("recipient", sa.String, default=""),
    column("verdict", sa.String, default=""),
    column("reasons", sa.JSON, default=list),
    column("url", sa.String, default=""),
    column("link", sa.Integer, default=0),  # the link's number in the message, from 1
    column("user_agent", sa.String, default=""),
    column("ip", sa.String, default=""),
    column("detail", sa.String, default=""),
    column("implies_open", sa.Boolean, default=False),  # a person's click that stands for an open too
    # The delivery's first by a person: it is counted among the unique ones. An implied open is one, too.
    column("first_open", sa.Boolean, default=False, server_default=sa.false()),
    column("first_click", sa.Boolean, default=False, server_default=sa.false()),
    column("first_of_link", sa.Boolean, default=False, server_default=sa.false()),  # click of it
)

# An address that gets no mail: of one stream, or none at all (`scope` "all").
suppression = sa.Table(
    "suppression",
    metadata,
    key("id", sa.Integer),
    column("address", sa.String),  # relay.store.database.identities
    column("scope", sa.String, default="all"),  # all | stream
    column("stream", sa.String, default=""),
    column("reason", sa.String, default="manual"),  # hard_bounce | unsubscribe | complaint | manual
    column("evidence", sa.String, default=""),
    column("message", sa.String, default=""),
    column("created_at", UtcTime),
    nullable("expires_at", UtcTime),
)

# A provider's event that is processed, by a digest of its own id: the same event again changes nothing.
processed_provider_event = sa.Table(
    "processed_provider_event",
    metadata,
    key("id", sa.String),
    column("at", UtcTime),
)

# A soft failure that counts against an address if it comes again.
soft_failure = sa.Table(
    "soft_failure",
    metadata,
    key("address", sa.String),  # relay.store.database.identities
    key("category", sa.String),
    column("first_at", UtcTime),
    column("last_at", UtcTime),
)

# Consent to tracking, or its refusal. Unsubscribes are apart from it.
consent = sa.Table(
    "consent",
    metadata,
    key("address", sa.String),  # relay.store.database.identities
    column("is_yes", sa.Boolean),
    column("at", UtcTime),
    column("source", sa.String),  # recipient | api | header
)

# The destination of a link whose URL is too long for its token, sealed (`relay.store.queue.long_urls`).
destination = sa.Table(
    "destination",
    metadata,
    key("name", sa.String),
    column("sealed", sa.LargeBinary),
    column("used_at", UtcTime),
)


# Literals: of a parameter, SQLite cannot know that a partial index covers it.
_ZERO: sa.ColumnElement[int] = sa.literal_column("0")
_EMPTY: sa.ColumnElement[str] = sa.literal_column("''")
_FAILED: sa.ColumnElement[str] = sa.literal_column("('bounced', 'expired', 'suppressed')")
_CLICKED: sa.ColumnElement[str] = sa.literal_column("'clicked'")


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
