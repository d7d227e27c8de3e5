"""An event for webhooks: with its message and the state of its delivery."""

from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from relay.event_type import EventType
from relay.store.database import identities, tables
from relay.store.views.json_objects import JsonObject, event_object


class WebhookEvent(NamedTuple):
    """An event with what the formats of providers contain beyond it. `event_object` is that of the API
    (docs/api.md#event)."""

    event_object: JsonObject
    id: str
    type: EventType
    at: datetime
    message: str
    recipients: list[str]  # the delivery's recipient; all recipients for `accepted`
    verdict: str
    url: str
    user_agent: str
    ip: str
    detail: str  # the reply: code, enhanced status and text; or which rule decided
    category: str
    attempt: int
    is_first: bool = False  # of its type, for this delivery
    message_id: str = ""  # without angle brackets
    author: str = ""
    reverse_path: str = ""
    subject: str = ""
    size_octets: int = 0
    stream: str = ""
    tags: tuple[str, ...] = ()
    meta: tuple[tuple[str, str], ...] = ()


def read_webhook_event(connection: sa.Connection, event_id: str) -> WebhookEvent | None:
    """The event of that id; None if it is gone."""
    event, message, delivery, attempt = tables.event, tables.message, tables.delivery, tables.attempt
    row = connection.execute(sa.select(event).where(event.c.id == event_id)).mappings().first()
    if row is None:
        return None
    policy = identities.policy_for(connection)
    about = connection.execute(sa.select(message).where(message.c.id == row["message"])).mappings().first()
    recipients = [row["recipient"]] if row["recipient"] else []
    tries = 0
    if row["number"] is None and row["type"] == EventType.ACCEPTED:
        named = sa.select(delivery.c.recipient).where(delivery.c.message == row["message"], delivery.c.recipient != "")
        # Deliveries that wait still have their addresses; a webhook gets the address as an event has it.
        shown = map(policy.event_recipient, connection.scalars(named.order_by(delivery.c.number)))
        recipients = [who for who in shown if who]
    elif row["type"] == EventType.DEFERRED:
        until = (attempt.c.message == row["message"], attempt.c.number == row["number"], attempt.c.at <= row["at"])
        tries = connection.scalar(sa.select(sa.func.count()).where(*until)) or 0
    same = (event.c.message == row["message"], event.c.number == row["number"], event.c.type == row["type"])
    earlier = connection.scalar(sa.select(event.c.id).where(*same, event.c.id < row["id"]).limit(1))
    webhook_event = WebhookEvent(
        event_object=event_object(row),
        id=row["id"],
        type=EventType(row["type"]),
        at=row["at"],
        message=row["message"],
        recipients=recipients,
        verdict=row["verdict"],
        url=row["url"],
        user_agent=row["user_agent"],
        ip=row["ip"],
        detail=row["detail"],
        category=row["reasons"][0] if row["reasons"] else "",
        attempt=tries,
        is_first=earlier is None,
    )
    if about is None:
        return webhook_event
    names = ("author", "subject", "size_octets", "stream")
    return webhook_event._replace(
        message_id=about["message_id"].strip("<>"),
        reverse_path="" if policy.redacts else about["reverse_path"],  # may name the recipient (VERP)
        **{name: about[name] for name in names},
        tags=tuple(about["tags"]),
        meta=tuple(about["meta"].items()),
    )


def sample_event(event_id: str, message_id: str, now: datetime) -> WebhookEvent:
    """Returns an invented event, to test an endpoint with."""
    who, reply = "test@example.com", "250 2.0.0 this is a test"
    values = {"id": event_id, "type": EventType.DELIVERED, "at": now, "message": message_id, "number": 0}
    empty = {"recipient": who, "verdict": "", "reasons": ["test"], "url": "", "user_agent": "", "ip": ""}
    return WebhookEvent(
        event_object=event_object(values | empty | {"detail": reply}),
        id=event_id,
        type=EventType.DELIVERED,
        at=now,
        message=message_id,
        recipients=[who],
        verdict="",
        url="",
        user_agent="",
        ip="",
        detail=reply,
        category="test",
        attempt=1,
        message_id="test@example.com",
        subject="A test",
    )
