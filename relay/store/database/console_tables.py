"""The rows that operators make: accounts and their sessions, API keys, stand-alone pixels."""

from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from relay.store.database.tables import UtcTime, table_of


class Pixel(SQLModel, table=True):
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


class PixelHit(SQLModel, table=True):
    """A request for a stand-alone pixel."""

    __tablename__ = "pixel_hit"
    id: str = Field(primary_key=True)
    pixel: str
    at: datetime = Field(sa_type=UtcTime)
    verdict: str
    reasons: list[str] = Field(default_factory=list, sa_type=sa.JSON)
    user_agent: str = ""
    ip: str = ""


class ApiKey(SQLModel, table=True):
    """A key of the JSON API, by the SHA-256 of its 256 random bits."""

    __tablename__ = "api_key"
    name: str = Field(primary_key=True)
    digest: str = Field(unique=True)
    created_at: datetime = Field(sa_type=UtcTime)
    scopes: list[str] = Field(default_factory=list, sa_type=sa.JSON, sa_column_kwargs={"server_default": '["*"]'})
    expires_at: datetime | None = Field(default=None, sa_type=UtcTime)
    used_at: datetime | None = Field(default=None, sa_type=UtcTime)


class Account(SQLModel, table=True):
    """Who may use the console."""

    __tablename__ = "account"
    name: str = Field(primary_key=True)
    password_hash: str
    created_at: datetime = Field(sa_type=UtcTime)


class ConsoleSession(SQLModel, table=True):
    """A browser that is signed in, by the SHA-256 of the 256 random bits in its cookie."""

    __tablename__ = "console_session"
    digest: str = Field(primary_key=True)
    account: str
    created_at: datetime = Field(sa_type=UtcTime)
    used_at: datetime = Field(sa_type=UtcTime)
    expires_at: datetime = Field(sa_type=UtcTime)
    user_agent: str = ""
    ip: str = ""


pixel = table_of(Pixel)
pixel_hit = table_of(PixelHit)
api_key = table_of(ApiKey)
account = table_of(Account)
console_session = table_of(ConsoleSession)

sa.Index("pixel_hit_by_pixel", pixel_hit.c.pixel, pixel_hit.c.id)
