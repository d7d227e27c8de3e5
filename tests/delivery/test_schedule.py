"""When it is tried again: what a reply asks for, within the bounds of the schedule."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.bounce.classify import Phase
from relay.config.smtp import DeliveryConfig
from relay.delivery import schedule
from relay.delivery.schedule import Decision
from relay.delivery.smtp.attempt_result import AttemptResult
from relay.reply import Reply

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
SETTINGS = DeliveryConfig()


def deferred(text: str, jitter: float = 0.5, phase: Phase = Phase.RCPT) -> Decision:
    return schedule.decide(
        SETTINGS, AttemptResult(phase, Reply(451, "4.7.1", text), "up", 3),
        attempts_before=0, expires_at=NOW + timedelta(days=5), now=NOW, jitter=jitter, suppress_hard=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Greylisted for 300 seconds", 300),
        ("Please try again in 5 minutes", 300),
        ("Greylisting in action, please come back in 00:04:59", 299),
        ("Greylisted: retry in 299s (192.0.2.1)", 299),
        ("please retry after 2026-11-21T09:10:00Z", 600),
        ("please retry after 2026-11-21 10:10:00 +0100", 600),
        ("throttled, wait at least 2 hours", 7200),
        ("Too many connections, slow down. Retry-After: 120", 120),
        ("Try again later", None),
        ("mailbox full for 3 days", None),
        ("try again from 10.0.0.5 another day", None),
        ("try again after 2026-13-45T99:00:00Z", None),
    ],
)
def test_a_reply_that_names_a_time_is_understood(text: str, seconds: int | None) -> None:
    assert schedule.requested_wait(text, NOW) == (None if seconds is None else timedelta(seconds=seconds))


def test_the_time_that_is_asked_for_is_kept_within_the_bounds_of_the_schedule() -> None:
    def wait(text: str, jitter: float = 0.0) -> timedelta:
        again = deferred(text, jitter).next_attempt_at
        assert again is not None
        return again - NOW

    assert wait("greylisted for 10 minutes") == timedelta(minutes=10)
    assert wait("greylisted for 10 minutes", 1.0) == timedelta(minutes=11)
    assert wait("try again in 0 seconds") == timedelta(minutes=1)
    assert wait("try again in 9 days") == timedelta(hours=4)
    assert wait("try again later") == timedelta(seconds=48)


@given(st.text(), st.floats(0, 1))
def test_after_any_reply_there_is_another_attempt_neither_at_once_nor_never(text: str, jitter: float) -> None:
    for said in (text, f"try again in {text}", f"retry after {text} seconds"):
        again = deferred(said, jitter).next_attempt_at
        assert again is not None and timedelta(seconds=48) <= again - NOW <= timedelta(hours=4.4)
