"""Deliveries that failed for now, and are tried again in an hour."""

from datetime import UTC, datetime, timedelta
from typing import Any

from relay.store.database.tables import Status
from relay.store.queue.queue_facts import AttemptRecord
from tests.web.scene import Scene


def defer(scene: Scene, *recipients: str, text: str = "not now", **fields: Any) -> str:  # Any: the message's row
    """The message to these, greylisted with that text."""
    later = {"kind": "soft", "category": "greylisted", "next_attempt_at": datetime.now(UTC) + timedelta(hours=1)}
    attempt = AttemptRecord("primary", "rcpt", 451, "4.7.1", text, 10)
    return scene.file(*recipients, status=Status.DEFERRED, attempt=attempt, outcome=later, **fields)
