"""What becomes of a delivery after a provider's event, and the check of a table of them."""

from collections.abc import Callable
from typing import Any

import httpx

from relay.event_type import EventType
from tests.web.providers import held, sent, status
from tests.web.scene import Scene

HARD = ("bounced", "hard", "user_unknown")
NOTHING = ("delivered", "none", "")
COMPLAINED, UNSUBSCRIBED, DEFERRED = "complained", "unsubscribed", "deferred"
DEAD = "550 5.1.1 user unknown"
Result = tuple[str, str, str] | str


def soft(category: str) -> tuple[str, str, str]:
    return ("bounced", "soft", category)


def receipt(number: int) -> str:
    return f"receipt-{number:012d}"


def assert_results(
    scene: Scene, provider: str, rows: list[tuple[dict[str, Any], Result]], send: Callable[..., Any]
) -> None:
    wrong = []
    for number, (event, expected) in enumerate(rows):
        who = f"{provider}{number}@example.com"
        message = sent(scene, who, f"queued as {receipt(number)}")
        answer: httpx.Response = send(event, who, number)
        assert answer.status_code == 200, (event, answer.text)
        row = scene.delivery(message)
        found: Result = status(scene, message)
        if row["complained_at"]:
            found = COMPLAINED
        elif row["unsubscribed_at"]:
            found = UNSUBSCRIBED
        elif found[0] == "delivered":
            found = DEFERRED if scene.events(message, EventType.DEFERRED) else NOTHING
        is_held = bool(held(scene, who))
        if found != expected or is_held != (expected in (HARD, COMPLAINED, UNSUBSCRIBED) or expected[1] == "hard"):
            wrong.append((event, expected, found, is_held))
    assert not wrong, "\n".join(map(str, wrong))
