"""The rows of the console and the API: accounts, sessions, API keys, the audit log, refusals, pixels, upstreams'
states."""

from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field

from relay.store.database.columns import CodePoints, Row, UtcTime, table_of


class Pixel(Row):
    """A stand-alone pixel, to be pasted into a mail by hand. Its address stays the same when keys rotate."""

    __tablename__ = "pixel"
    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    token: str
    created_at: datetime = Field(sa_type=UtcTime)
    opens_human: int = 0
    opens_proxied: int = 0
    opens_machine: int = 0
    opens_unknown: int = 0


class PixelHit(Row):
    """A request for a stand-alone pixel."""

    __tablename__ = "pixel_hit"
    id: str = Field(primary_key=True)
    pixel: str
    at: datetime = Field(sa_type=UtcTime)
    verdict: str
    reasons: list[str] = Field(default_factory=list, sa_type=sa.JSON)
    user_agent: str = ""
    ip: str = ""


class ApiKey(Row):
    """A key of the JSON API, by the SHA-256 of its 256 random bits."""

    __tablename__ = "api_key"
    name: str = Field(primary_key=True)
    digest: str = Field(unique=True)
    created_at: datetime = Field(sa_type=UtcTime)
    scopes: list[str] = Field(default_factory=list, sa_type=sa.JSON, sa_column_kwargs={"server_default": '["*"]'})
    expires_at: datetime | None = Field(default=None, sa_type=UtcTime)
    used_at: datetime | None = Field(default=None, sa_type=UtcTime)


class Account(Row):
    """Who may use the console."""

    __tablename__ = "account"
    name: str = Field(primary_key=True)
    password_hash: str
    created_at: datetime = Field(sa_type=UtcTime)
    role: str = Field(default="admin", sa_column_kwargs={"server_default": "admin"})
    subject: str = Field(default="", sa_column_kwargs={"server_default": ""})  # of an OpenID provider, if it is one's


class ConsoleSession(Row):
    """A browser that is signed in, by the SHA-256 of the 256 random bits in its cookie."""

    __tablename__ = "console_session"
    digest: str = Field(primary_key=True)
    account: str
    created_at: datetime = Field(sa_type=UtcTime)
    used_at: datetime = Field(sa_type=UtcTime)
    expires_at: datetime = Field(sa_type=UtcTime)
    user_agent: str = ""
    ip: str = ""


class IdempotentAnswer(Row):
    """The API's answer to a write with an Idempotency-Key, by a digest of whose key it is. Status 0: under way."""

    __tablename__ = "idempotent_answer"
    digest: str = Field(primary_key=True)
    request: str  # a digest of method, path and body
    at: datetime = Field(sa_type=UtcTime)
    status: int = 0
    headers: dict[str, str] = Field(default_factory=dict, sa_type=sa.JSON)
    body: bytes = Field(default=b"", sa_type=sa.LargeBinary)


class AuditEntry(Row):
    """A change that somebody made. `changed`: how many things it changed."""

    __tablename__ = "audit_entry"
    id: str = Field(primary_key=True, sa_type=CodePoints)
    at: datetime = Field(sa_type=UtcTime)
    door: str
    by: str
    origin: str
    action: str
    target: str
    recipient: str
    changed: int
    detail: str


class RefusalRow(Row):
    """A command that a client was refused, with the envelope."""

    __tablename__ = "refusal"
    id: str = Field(primary_key=True, sa_type=CodePoints)
    at: datetime = Field(sa_type=UtcTime)
    ip: str
    user: str
    command: str
    reverse_path: str
    recipient: str
    code: int
    status: str
    text: str
    count: int  # more than 1: so many that were only counted


class UpstreamState(Row):
    """The state of an upstream, as a mail process reported it."""

    __tablename__ = "upstream_state"
    worker: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    at: datetime = Field(sa_type=UtcTime)  # when it was reported
    down_since: datetime | None = Field(default=None, sa_type=UtcTime)
    fault: str = ""
    in_use: int = 0
    idle: int = 0
    waiting: int = 0


class Chore(Row):
    """Who does a chore for all processes, and until when."""

    __tablename__ = "chore"
    name: str = Field(primary_key=True)
    worker: str
    until: datetime = Field(sa_type=UtcTime)


class SentAlertRow(Row):
    """A problem of which the operator was alerted, and when the last time; the row goes when it is over."""

    __tablename__ = "sent_alert"
    problem: str = Field(primary_key=True)
    title: str
    text: str
    at: datetime = Field(sa_type=UtcTime)


pixel = table_of(Pixel)
pixel_hit = table_of(PixelHit)
api_key = table_of(ApiKey)
account = table_of(Account)
console_session = table_of(ConsoleSession)
idempotent_answer = table_of(IdempotentAnswer)
audit_entry = table_of(AuditEntry)
upstream_state = table_of(UpstreamState)
chore = table_of(Chore)
sent_alert = table_of(SentAlertRow)
refusal = table_of(RefusalRow)
