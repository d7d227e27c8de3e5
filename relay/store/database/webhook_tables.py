"""The rows of webhooks: endpoints, the queue of requests, and the log of what became of them."""

from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field

from relay.store.database.columns import BigId, Row, UtcTime, table_of


class WebhookRow(Row):
    """An endpoint. `source` config: it stands in config.toml, and so do its secrets. What was added in the console or
    by the API (database) reaches public addresses only."""

    __tablename__ = "webhook"
    id: str = Field(primary_key=True)
    url: str  # of those in config.toml without the password
    events: list[str] = Field(default_factory=list, sa_type=sa.JSON)
    format: str = "waypost"
    machines: bool = False
    secret: str = ""
    old_secret: str = ""
    old_until: datetime | None = Field(default=None, sa_type=UtcTime)
    source: str = "database"  # database | command | config
    state: str = "on"  # on | off (by hand) | disabled (by its failures) | gone (from config.toml)
    reason: str = ""
    created_at: datetime = Field(sa_type=UtcTime)
    failing_since: datetime | None = Field(default=None, sa_type=UtcTime)  # with no success since


class WebhookQueueRow(Row):
    """A request that is still to be sent. Requests for one message are sent in the order of their ids."""

    __tablename__ = "webhook_queue"
    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    webhook: str
    event: str
    message: str
    attempts: int = 0
    first_at: datetime | None = Field(default=None, sa_type=UtcTime)  # when it was tried first
    next_attempt_at: datetime = Field(sa_type=UtcTime)
    leased_by: str = ""
    leased_until: datetime | None = Field(default=None, sa_type=UtcTime)


class WebhookLogRow(Row):
    """One request to a webhook, and what came of it. Code 0: there was no response; `error` says why."""

    __tablename__ = "webhook_log"
    id: str = Field(primary_key=True)
    webhook: str
    event: str
    type: str
    message: str
    at: datetime = Field(sa_type=UtcTime)
    attempt: int = 1
    code: int = 0
    error: str = ""
    took_ms: int = 0
    next_attempt_at: datetime | None = Field(default=None, sa_type=UtcTime)
    headers: dict[str, str] = Field(default_factory=dict, sa_type=sa.JSON)
    request: str = Field(default="", sa_type=sa.Text)
    response: str = Field(default="", sa_type=sa.Text)


webhook = table_of(WebhookRow)
webhook_queue = table_of(WebhookQueueRow)
webhook_log = table_of(WebhookLogRow)
