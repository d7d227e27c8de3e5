"""The tables of roll-ups: counts of what happened in an hour or a day."""

import sqlalchemy as sa

from relay.store.database.columns import BigId, UtcTime, column, key, metadata

# What happened in one hour, or one UTC day, of one stream. `dimension` "" counts all; "tag", "domain" and "link" count
# by `value`: a tag, the recipients' domain, or the URL of a link that was clicked, without addresses. By domain, all
# streams of apps are together. `detail` is the verdict of a hit, and the category of what was not delivered.
roll_up = sa.Table(
    "roll_up",
    metadata,
    key("period", sa.String),  # hour | day
    key("dimension", sa.String),  # "" | tag | domain | link
    key("start", UtcTime),
    key("stream", sa.String),
    key("value", sa.String),
    key("type", sa.String),
    key("detail", sa.String),
    column("count", sa.BigInteger),
    column("uniques", sa.BigInteger),  # of count: the first open, or click, of its delivery (and its link) by a person
    sqlite_with_rowid=False,
)

# What one commit adds to an hour. It counts at once, and is folded into the roll-ups later: writers that shared a row
# would wait for each other.
roll_up_change = sa.Table(
    "roll_up_change",
    metadata,
    key("id", BigId),
    column("dimension", sa.String),
    column("start", UtcTime),  # of the hour
    column("stream", sa.String),
    column("value", sa.String),
    column("type", sa.String),
    column("detail", sa.String),
    column("count", sa.Integer),
    column("uniques", sa.Integer),
)
