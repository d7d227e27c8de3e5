"""The tables of webhooks, and their rows: endpoints, the queue of requests, and the log of what became of them."""

from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from relay.store.database.columns import BigId, UtcTime, column, key, metadata, nullable

# An endpoint. `source` config: it stands in config.toml, and so do its secrets. What was added in the console or by
# the API (database) reaches public addresses only.
webhook = sa.Table(
    "webhook",
    metadata,
    key("id", sa.String),
    column("url", sa.String),  # of those in config.toml without the password
    column("events", sa.JSON, default=list),
    column("format", sa.String, default="waypost"),
    column("machines", sa.Boolean, default=False),
    column("secret", sa.String, default=""),
    column("old_secret", sa.String, default=""),
    nullable("old_until", UtcTime),
    column("source", sa.String, default="database"),  # database | command | config
    # on | off (by hand) | disabled (by its failures) | gone (from config.toml)
    column("state", sa.String, default="on"),
    column("reason", sa.String, default=""),
    column("created_at", UtcTime),
    nullable("failing_since", UtcTime),  # with no success since
)

# A request that is still to be sent. Requests for one message are sent in the order of their ids.
webhook_queue = sa.Table(
    "webhook_queue",
    metadata,
    key("id", BigId),
    column("webhook", sa.String),
    column("event", sa.String),
    column("message", sa.String),
    column("attempts", sa.Integer, default=0),
    nullable("first_at", UtcTime),  # when it was tried first
    column("next_attempt_at", UtcTime),
    column("leased_by", sa.String, default=""),
    nullable("leased_until", UtcTime),
)

# One request to a webhook, and what came of it. Code 0: there was no response; `error` says why.
webhook_log = sa.Table(
    "webhook_log",
    metadata,
    key("id", sa.String),
    column("webhook", sa.String),
    column("event", sa.String),
    column("type", sa.String),
    column("message", sa.String),
    column("at", UtcTime),
    column("attempt", sa.Integer, default=1),
    column("code", sa.Integer, default=0),
    column("error", sa.String, default=""),
    column("took_ms", sa.Integer, default=0),
    nullable("next_attempt_at", UtcTime),
    column("headers", sa.JSON, default=dict),
    column("request", sa.Text, default=""),
    column("response", sa.Text, default=""),
)


class WebhookRow(NamedTuple):
    """An endpoint, as its table has it."""

    id: str
    url: str
    events: list[str]
    format: str
    machines: bool
    source: str
    created_at: datetime
    secret: str = ""
    old_secret: str = ""
    old_until: datetime | None = None
    state: str = "on"
    reason: str = ""
    failing_since: datetime | None = None


class WebhookQueueRow(NamedTuple):
    """A request that is still to be sent, as its table has it."""

    id: int
    webhook: str
    event: str
    message: str
    attempts: int
    first_at: datetime | None
    next_attempt_at: datetime
    leased_by: str
    leased_until: datetime | None


class WebhookLogRow(NamedTuple):
    """A request that was sent, and what came of it, as its table has it."""

    id: str
    webhook: str
    event: str
    type: str
    message: str
    at: datetime
    attempt: int
    code: int
    error: str
    took_ms: int
    next_attempt_at: datetime | None
    headers: dict[str, str]
    request: str
    response: str
