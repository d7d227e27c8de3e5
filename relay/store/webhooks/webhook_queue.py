"""The requests that webhooks are still to be sent.

In: events as they are inserted; a worker's name and its room.  Out: due requests, leased. Of the requests for one
message and webhook only the earliest is due, until it is delivered or given up: a webhook gets events in their order.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from relay.store.database import bulk_statement, notifications, webhook_tables
from relay.store.database.webhook_tables import WebhookLogRow, WebhookQueueRow

ALL = "*"
GIVE_UP_AFTER = timedelta(hours=24)
_HTTP_GONE = 410

_ANY_LISTENING = "SELECT 1 FROM webhook WHERE state = 'on' LIMIT 1"
_FIND_LISTENING = sa.select(webhook_tables.webhook.c.id, webhook_tables.webhook.c.events).where(
    webhook_tables.webhook.c.state == "on"
)


def enqueue_wanted(connection: sa.Connection, events: Sequence[Mapping[str, Any]]) -> None:  # Any: rows' values
    """Queues new events for each webhook that is on and wants them."""
    if connection.dialect.name == "sqlite" and not bulk_statement.select(connection, _ANY_LISTENING):
        return
    listening = connection.execute(_FIND_LISTENING).all()
    if listening:
        enqueue(
            connection,
            [(hook.id, event) for event in events for hook in listening if wants_event(hook.events, event["type"])],
            None,
        )


def wants_event(event_types: Sequence[str], type_: str) -> bool:
    """True if a webhook that asked for those events wants that one."""
    return ALL in event_types or type_ in event_types


def enqueue(
    connection: sa.Connection,
    pairs: Sequence[tuple[str, Mapping[Any, Any]]],  # Any: rows' values
    now: datetime | None,
) -> None:
    """Queues events for webhooks, due from when they happened, or from `now`."""
    rows = [
        {"webhook": hook, "event": event["id"], "message": event["message"], "next_attempt_at": now or event["at"]}
        | {"attempts": 0, "leased_by": ""}
        for hook, event in pairs
    ]
    if rows:
        connection.execute(sa.insert(webhook_tables.webhook_queue), rows)
        notifications.notify(connection, notifications.WEBHOOKS)


def _select_due(webhook: str, now: datetime) -> sa.Select[Any]:  # Any: whole rows
    table, earlier = webhook_tables.webhook_queue, webhook_tables.webhook_queue.alias("earlier")
    first = ~sa.exists().where(
        earlier.c.webhook == table.c.webhook, earlier.c.message == table.c.message, earlier.c.id < table.c.id
    )
    free = sa.or_(table.c.leased_until.is_(None), table.c.leased_until < now)
    return sa.select(table).where(table.c.webhook == webhook, table.c.next_attempt_at <= now, free, first)


def has_waiting(connection: sa.Connection) -> bool:
    """True if a request waits, for its time or in somebody's hands."""
    return connection.execute(sa.select(webhook_tables.webhook_queue.c.id).limit(1)).first() is not None


def find_due_webhooks(connection: sa.Connection, webhooks: Sequence[str], now: datetime) -> list[str]:
    """Returns those of the webhooks that have a due request."""
    return [one for one in webhooks if connection.execute(_select_due(one, now).limit(1)).first()]


def lease_due_requests(
    connection: sa.Connection, room: Mapping[str, int], worker: str, now: datetime, until: datetime
) -> list[WebhookQueueRow]:
    """Leases due requests to `worker`, as many of each webhook as it has room for. A lapsed lease counts as due."""
    table, found = webhook_tables.webhook_queue, []
    for webhook, most in room.items():
        due = _select_due(webhook, now).order_by(table.c.next_attempt_at, table.c.id).limit(most)
        due = due.with_for_update(skip_locked=True, of=table)  # has no effect on SQLite, whose writer is alone
        found += [WebhookQueueRow(**row) for row in connection.execute(due).mappings()]
    held = table.c.id.in_([row.id for row in found])
    connection.execute(sa.update(table).where(held).values(leased_by=worker, leased_until=until))
    return found


def release_requests(connection: sa.Connection, worker: str | None = None) -> None:
    """Ends the leases of workers whose name begins so; None: of all workers, when none can be running."""
    table = webhook_tables.webhook_queue
    whose = table.c.leased_by != "" if worker is None else table.c.leased_by.startswith(worker, autoescape=True)
    connection.execute(sa.update(table).where(whose).values(leased_by="", leased_until=None))


def drop_request(connection: sa.Connection, row: WebhookQueueRow) -> None:
    """Deletes a request: it was delivered or given up, the webhook does not want it, or the event is gone."""
    table = webhook_tables.webhook_queue
    connection.execute(sa.delete(table).where(table.c.id == row.id))


def postpone_request(connection: sa.Connection, row: WebhookQueueRow, now: datetime, next_attempt_at: datetime) -> None:
    """Counts a failed attempt; the next one is due at `next_attempt_at`."""
    table = webhook_tables.webhook_queue
    change = {"attempts": row.attempts + 1, "first_at": row.first_at or now, "next_attempt_at": next_attempt_at}
    connection.execute(sa.update(table).where(table.c.id == row.id).values(**change, leased_by="", leased_until=None))


def record_webhook_attempt(
    connection: sa.Connection, row: WebhookQueueRow, entry: WebhookLogRow, *, is_success: bool
) -> str:
    """Records how a request ended; `entry.next_attempt_at` is when the next attempt is due, if there is one.

    Returns why the webhook is disabled from now on (it answered 410, or no request succeeded for a day), or "".
    """
    hook = webhook_tables.webhook
    its = hook.c.id == row.webhook
    connection.execute(sa.insert(webhook_tables.webhook_log), entry._asdict())
    if is_success or entry.next_attempt_at is None:
        drop_request(connection, row)
    else:
        postpone_request(connection, row, entry.at, entry.next_attempt_at)
    if is_success:
        connection.execute(sa.update(hook).where(its, hook.c.failing_since.is_not(None)).values(failing_since=None))
        return ""
    connection.execute(sa.update(hook).where(its, hook.c.failing_since.is_(None)).values(failing_since=entry.at))
    since: datetime | None = connection.scalar(sa.select(hook.c.failing_since).where(its))
    if entry.code == _HTTP_GONE:
        reason = "it answered 410 Gone"
    elif since is not None and entry.at - since >= GIVE_UP_AFTER:
        reason = f"it took nothing for 24 hours; the last answer: {entry.code or entry.error}"
    else:
        return ""
    disabled = sa.update(hook).where(its, hook.c.state == "on").values(state="disabled", reason=reason)
    return reason if connection.execute(disabled).rowcount else ""
