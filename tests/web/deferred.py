"""A delivery that failed for now, and is tried again in an hour."""

from datetime import UTC, datetime, timedelta

from relay.store.database.tables import Status
from relay.store.queue.queue_facts import AttemptRecord
from tests.web.scene import Scene


def defer(scene: Scene, recipient: str, text: str = "not now", upstream: str = "primary") -> str:
    later = {"kind": "soft", "category": "greylisted", "next_attempt_at": datetime.now(UTC) + timedelta(hours=1)}
    attempt = AttemptRecord(upstream, "rcpt", 451, "4.7.1", text, 10)
    return scene.file(recipient, status=Status.DEFERRED, attempt=attempt, outcome=later)
