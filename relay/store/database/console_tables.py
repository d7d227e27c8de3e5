"""The tables of the console and the API: accounts, sessions, API keys, the audit log, refusals, pixels, upstreams'
states."""

import sqlalchemy as sa

from relay.store.database.columns import CodePoints, UtcTime, column, key, metadata, nullable

# A stand-alone pixel, to be pasted into a mail by hand. Its address stays the same when keys rotate.
pixel = sa.Table(
    "pixel",
    metadata,
    key("id", sa.String),
    column("name", sa.String, unique=True),
    column("token", sa.String),
    column("created_at", UtcTime),
    column("opens_human", sa.Integer, default=0),
    column("opens_proxied", sa.Integer, default=0),
    column("opens_machine", sa.Integer, default=0),
    column("opens_unknown", sa.Integer, default=0),
)

# A request for a stand-alone pixel.
pixel_hit = sa.Table(
    "pixel_hit",
    metadata,
    key("id", sa.String),
    column("pixel", sa.String),
    column("at", UtcTime),
    column("verdict", sa.String),
    column("reasons", sa.JSON, default=list),
    column("user_agent", sa.String, default=""),
    column("ip", sa.String, default=""),
)

# A key of the JSON API, by the SHA-256 of its 256 random bits.
api_key = sa.Table(
    "api_key",
    metadata,
    key("name", sa.String),
    column("digest", sa.String, unique=True),
    column("created_at", UtcTime),
    column("scopes", sa.JSON, default=list, server_default='["*"]'),
    nullable("expires_at", UtcTime),
    nullable("used_at", UtcTime),
)

# Who may use the console.
account = sa.Table(
    "account",
    metadata,
    key("name", sa.String),
    column("password_hash", sa.String),
    column("created_at", UtcTime),
    column("role", sa.String, default="admin", server_default="admin"),
    column("subject", sa.String, default="", server_default=""),  # of an OpenID provider, if it is one's
)

# A browser that is signed in, by the SHA-256 of the 256 random bits in its cookie.
console_session = sa.Table(
    "console_session",
    metadata,
    key("digest", sa.String),
    column("account", sa.String),
    column("created_at", UtcTime),
    column("used_at", UtcTime),
    column("expires_at", UtcTime),
    column("user_agent", sa.String, default=""),
    column("ip", sa.String, default=""),
)

# The API's answer to a write with an Idempotency-Key, by a digest of whose key it is. Status 0: under way.
idempotent_answer = sa.Table(
    "idempotent_answer",
    metadata,
    key("digest", sa.String),
    column("request", sa.String),  # a digest of method, path and body
    column("at", UtcTime),
    column("status", sa.Integer, default=0),
    column("headers", sa.JSON, default=dict),
    column("body", sa.LargeBinary, default=b""),
)

# A change that somebody made. `changed`: how many things it changed.
audit_entry = sa.Table(
    "audit_entry",
    metadata,
    key("id", CodePoints),
    column("at", UtcTime),
    column("door", sa.String),
    column("by", sa.String),
    column("origin", sa.String),
    column("action", sa.String),
    column("target", sa.String),
    column("recipient", sa.String),
    column("changed", sa.Integer),
    column("detail", sa.String),
)

# A command that a client was refused, with the envelope.
refusal = sa.Table(
    "refusal",
    metadata,
    key("id", CodePoints),
    column("at", UtcTime),
    column("ip", sa.String),
    column("user", sa.String),
    column("command", sa.String),
    column("reverse_path", sa.String),
    column("recipient", sa.String),
    column("code", sa.Integer),
    column("status", sa.String),
    column("text", sa.String),
    column("count", sa.Integer),  # more than 1: so many that were only counted
)

# The state of an upstream, as a mail process reported it.
upstream_state = sa.Table(
    "upstream_state",
    metadata,
    key("worker", sa.String),
    key("name", sa.String),
    column("at", UtcTime),  # when it was reported
    nullable("down_since", UtcTime),
    column("fault", sa.String, default=""),
    column("in_use", sa.Integer, default=0),
    column("idle", sa.Integer, default=0),
    column("waiting", sa.Integer, default=0),
    nullable("connected_at", UtcTime),  # when the process last opened a connection to it
)

# Who does a chore for all processes, and until when.
chore = sa.Table(
    "chore",
    metadata,
    key("name", sa.String),
    column("worker", sa.String),
    column("until", UtcTime),
)

# A problem of which the operator was alerted, and when the last time; the row goes when it is over.
sent_alert = sa.Table(
    "sent_alert",
    metadata,
    key("problem", sa.String),
    column("title", sa.String),
    column("text", sa.String),
    column("at", UtcTime),
)
