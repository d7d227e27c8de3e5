"""The endpoints of webhooks: those in config.toml, and those that were added to the database.

In: what an operator wants.  Out: rows, and the state of each. An id never changes: that of a configured endpoint
follows from its URL and format.
"""

import hashlib
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import sqlalchemy as sa

from relay import ids, webhook_signatures
from relay.config.webhook import WebhookConfig as Configured
from relay.store.database import notifications, tables, webhook_tables
from relay.store.database.deletion_steps import share_of
from relay.store.database.webhook_tables import WebhookLogRow, WebhookRow
from relay.store.webhooks import webhook_queue

DATABASE, COMMAND, CONFIG = "database", "command", "config"
ON, OFF, DISABLED, GONE = "on", "off", "disabled", "gone"
OLD_SECRET_LIFETIME = timedelta(hours=24)
MAX_LOGGED = 10_000  # requests of a webhook; older ones go
_BATCH = 1000


class WebhookStatus(NamedTuple):
    """A webhook, how many requests wait for it, and how the last one ended."""

    webhook: WebhookRow
    waiting: int
    last_at: datetime | None
    last_code: int
    last_error: str


class UnknownWebhookError(LookupError):
    """There is no such webhook."""


def configured_id(one: Configured) -> str:
    """The id of a webhook that stands in config.toml."""
    return "cfg" + hashlib.sha256(f"{one.format} {without_password(one.url)}".encode()).hexdigest()[:13]


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def sync_from_config(connection: sa.Connection, webhooks: Sequence[Configured], now: datetime) -> None:
    """Brings the webhooks of config.toml into the database. Those that it no longer names get no requests, but their
    queue is kept."""
    table = webhook_tables.webhook
    known = {row.id: row for row in connection.execute(sa.select(table.c.id, table.c.state).filter_by(source=CONFIG))}
    for one in webhooks:
        key = configured_id(one)
        said: dict[str, Any] = {  # Any: a row's values
            "url": without_password(one.url),
            "events": list(one.events),
            "format": one.format,
            "machines": one.machines,
        }
        if key not in known:
            row = WebhookRow(id=key, source=CONFIG, created_at=now, **said)
            connection.execute(sa.insert(table), row._asdict())
        else:
            state = {"state": ON} if known.pop(key).state == GONE else {}
            connection.execute(sa.update(table).where(table.c.id == key).values(**said, **state))
    if known:
        connection.execute(sa.update(table).where(table.c.id.in_(sorted(known))).values(state=GONE, reason=""))


def add_webhook(connection: sa.Connection, webhook: Configured, now: datetime, source: str) -> WebhookRow:
    """Adds one, with a secret of ours where none is given. `source`: DATABASE, or COMMAND for an operator's own."""
    secret = webhook.secret.get_secret_value() or webhook_signatures.new_secret()
    row = WebhookRow(
        id=ids.new(now),
        url=webhook.url,
        events=list(webhook.events),
        format=webhook.format,
        machines=webhook.machines,
        secret=secret,
        source=source,
        created_at=now,
    )
    connection.execute(sa.insert(webhook_tables.webhook), row._asdict())
    return row


def remove_webhook(connection: sa.Connection, webhook: str) -> None:
    """Deletes a webhook with its log and queue. Raises UnknownWebhookError; ValueError for one of config.toml."""
    row = get_webhook(connection, webhook)
    if row.source == CONFIG and row.state != GONE:
        raise ValueError("it stands in config.toml; remove its [[webhook]] table there and restart")
    for table in (webhook_tables.webhook_queue, webhook_tables.webhook_log):
        connection.execute(sa.delete(table).where(table.c.webhook == webhook))
    connection.execute(sa.delete(webhook_tables.webhook).where(webhook_tables.webhook.c.id == webhook))


def enable_webhook(connection: sa.Connection, webhook: str, now: datetime) -> int:
    """Turns a webhook on, and makes its queued requests due. Returns how many those are. Raises UnknownWebhookError;
    ValueError for one that config.toml no longer names."""
    if get_webhook(connection, webhook).state == GONE:
        raise ValueError("it no longer stands in config.toml")
    table, owed = webhook_tables.webhook, webhook_tables.webhook_queue
    connection.execute(sa.update(table).where(table.c.id == webhook).values(state=ON, reason="", failing_since=None))
    due = sa.update(owed).where(owed.c.webhook == webhook).values(attempts=0, first_at=None, next_attempt_at=now)
    notifications.notify(connection, notifications.WEBHOOKS)
    return connection.execute(due).rowcount


def disable_webhook(connection: sa.Connection, webhook: str) -> None:
    """Turns a webhook off. Events are not queued for it meanwhile. Raises UnknownWebhookError."""
    get_webhook(connection, webhook)
    table = webhook_tables.webhook
    connection.execute(
        sa.update(table).where(table.c.id == webhook, table.c.state != GONE).values(state=OFF, reason="")
    )


def rotate_secret(connection: sa.Connection, webhook: str, now: datetime) -> str:
    """Makes a new secret and returns it. For a day requests are signed with the old one too. Raises
    UnknownWebhookError; ValueError for a webhook of config.toml."""
    row = get_webhook(connection, webhook)
    if row.source == CONFIG:
        raise ValueError("its secret stands in config.toml: set secret there, and old_secret to the one before")
    secret, table = webhook_signatures.new_secret(), webhook_tables.webhook
    change = {"secret": secret, "old_secret": row.secret, "old_until": now + OLD_SECRET_LIFETIME}
    connection.execute(sa.update(table).where(table.c.id == webhook).values(**change))
    return secret


def replay_events(
    connection: sa.Connection, webhook: str, now: datetime, since: datetime, until: datetime, after: str = ""
) -> tuple[int, str]:
    """Queues past events again, in their order, of the types that the webhook wants: one chunk in one commit. Returns
    how many, and where to go on ("" at the end). Raises UnknownWebhookError."""
    row, event = get_webhook(connection, webhook), tables.event
    wanted = sa.select(event.c.id, event.c.type, event.c.message).where(
        event.c.id >= ids.lowest_at(since), event.c.id < ids.lowest_at(until), event.c.id > after
    )
    if webhook_queue.ALL not in row.events:
        wanted = wanted.where(event.c.type.in_(row.events))
    found = connection.execute(wanted.order_by(event.c.id).limit(_BATCH)).mappings().all()
    webhook_queue.enqueue(connection, [(webhook, one) for one in found], now)
    return len(found), found[-1]["id"] if len(found) == _BATCH else ""


def replay_event(connection: sa.Connection, webhook: str, event_id: str, now: datetime) -> bool:
    """Queues one event again. False if there is no such event. Raises UnknownWebhookError."""
    get_webhook(connection, webhook)
    event = tables.event
    found = connection.execute(sa.select(event.c.id, event.c.message).where(event.c.id == event_id)).mappings().all()
    webhook_queue.enqueue(connection, [(webhook, one) for one in found], now)
    return bool(found)


def find_latest_event(connection: sa.Connection, webhook: str) -> str:
    """The id of the latest event that the webhook wants; empty if none has happened. Raises UnknownWebhookError."""
    row, event = get_webhook(connection, webhook), tables.event
    latest = sa.select(sa.func.max(event.c.id))
    if webhook_queue.ALL in row.events:
        return connection.scalar(latest) or ""
    # One type at a time, each from its index.
    return max((connection.scalar(latest.where(event.c.type == one)) or "" for one in row.events), default="")


def get_webhook(connection: sa.Connection, webhook: str) -> WebhookRow:
    """Returns a webhook. Raises UnknownWebhookError."""
    row = connection.execute(sa.select(webhook_tables.webhook).filter_by(id=webhook)).mappings().first()
    if row is None:
        raise UnknownWebhookError(webhook)
    return WebhookRow(**row)


def list_webhooks(connection: sa.Connection, *, only_on: bool = False) -> list[WebhookRow]:
    """All of them, the oldest first."""
    table = webhook_tables.webhook
    wanted = sa.select(table).order_by(table.c.created_at, table.c.id)
    if only_on:
        wanted = wanted.where(table.c.state == ON)
    return [WebhookRow(**row) for row in connection.execute(wanted).mappings()]


def list_webhook_status(connection: sa.Connection, ids_to_list: Collection[str] | None = None) -> list[WebhookStatus]:
    """All webhooks, or those of these ids, with their state."""
    owed, found = webhook_tables.webhook_queue, []
    for row in list_webhooks(connection):
        if ids_to_list is None or row.id in ids_to_list:
            waiting = connection.scalar(sa.select(sa.func.count()).where(owed.c.webhook == row.id)) or 0
            last = list_webhook_log(connection, row.id, 1)
            result = (last[0].at, last[0].code, last[0].error) if last else (None, 0, "")
            found.append(WebhookStatus(row, waiting, *result))
    return found


def list_webhook_log(
    connection: sa.Connection, webhook: str, limit: int, before: str = "", *, only_failed: bool = False
) -> list[WebhookLogRow]:
    """A webhook's logged requests before the id `before`, the newest first; with `only_failed` those that failed."""
    table = webhook_tables.webhook_log
    wanted = sa.select(table).where(table.c.webhook == webhook).order_by(table.c.id.desc()).limit(limit)
    if before:
        wanted = wanted.where(table.c.id < before)
    if only_failed:
        wanted = wanted.where(sa.not_(table.c.code.between(200, 299)))
    return [WebhookLogRow(**row) for row in connection.execute(wanted).mappings()]


def delete_old_log(connection: sa.Connection, before: datetime, share: float = 1.0) -> int:
    """Deletes what was logged before then, and of each webhook what is more than MAX_LOGGED; `share` of _BATCH of each
    at a time, at most. Returns how many; call again until it returns 0."""
    batch = share_of(_BATCH, share)
    table = webhook_tables.webhook_log
    count = 0
    for hook in connection.scalars(sa.select(table.c.webhook).distinct()).all():
        mine = sa.select(table.c.id).where(table.c.webhook == hook).order_by(table.c.id.desc())
        last = connection.scalar(mine.offset(MAX_LOGGED).limit(1)) or ""
        old = sa.or_(table.c.id <= last, table.c.id < ids.lowest_at(before))
        gone = sa.select(table.c.id).where(table.c.webhook == hook, old).limit(batch)
        count += connection.execute(sa.delete(table).where(table.c.id.in_(gone))).rowcount
    return count
