"""Providers' events in any order: early, late, twice, before our own commit, and about mail of others."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from relay.store.database.tables import Status
from relay.store.recipients.consent import ConsentChange
from tests.message_factory import new_message
from tests.web.providers import (
    ROOT,
    TABLES,
    bounced,
    fetch,
    from_sendgrid,
    held,
    sent,
    status,
)
from tests.web.scene import Scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Scene(tmp_path_factory.mktemp("order"), TABLES, fetch=fetch, roots=[ROOT], replays=False) as running:
        yield running


def test_the_order_of_events_does_not_matter(scene: Scene) -> None:
    message = sent(scene, "order@example.com")
    now = int(time.time())
    delivered = {"event": "delivered", "response": "250 2.0.0 OK", "reason": ""}
    late = bounced("order@example.com", timestamp=now + 2)
    assert from_sendgrid(scene, late).json()["taken"] == 1
    early = bounced("order@example.com", sg_event_id="d1", timestamp=now + 1, status="2.0.0") | delivered
    assert from_sendgrid(scene, early).json()["taken"] == 0
    assert status(scene, message)[0] == "bounced"
    later = bounced("order@example.com", sg_event_id="d2", timestamp=now + 5, status="2.0.0") | delivered
    assert from_sendgrid(scene, later).json()["taken"] == 1
    assert status(scene, message)[0] == "delivered"
    # An older event changes nothing, except a complaint.
    assert from_sendgrid(scene, bounced("order@example.com", sg_event_id="b2", timestamp=now + 3)).json()["taken"] == 0
    complaint = bounced("order@example.com", sg_event_id="c", timestamp=now - 60, event="spamreport")
    assert from_sendgrid(scene, complaint).json()["taken"] == 1
    assert status(scene, message)[0] == "delivered" and scene.delivery(message)["complained_at"]


def test_events_of_unknown_mail_and_other_recipients_change_nothing(scene: Scene) -> None:
    message = sent(scene, "mine@example.com", "queued as mine-0123456789")
    unknown = [
        bounced("mine@example.com", **{"smtp-id": "<other@id>"}),
        bounced("theirs@example.com", **{"smtp-id": "<mine@example.com.id>"}),
        bounced("theirs@example.com", **{"smtp-id": "", "sg_message_id": "mine-0123456789.filter"}),
        bounced("mine@example.com", **{"smtp-id": "", "sg_message_id": "queued"}),
        bounced("", **{"smtp-id": ""}),
    ]
    assert from_sendgrid(scene, *unknown).json() == {"taken": 0, "known": 0, "unknown": 5}
    assert status(scene, message)[0] == "delivered" and not held(scene, "mine@example.com")


def test_an_event_of_a_journaled_message_is_asked_for_again(scene: Scene) -> None:
    who = "journaled@example.com"
    one = new_message(who, at=datetime.now(UTC))
    one.message.message_id = f"{who}.id"
    scene.store.journal.append("new_message", one)
    answer = from_sendgrid(scene, bounced(who))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
    asyncio.run(scene.store.replay_journal())
    assert from_sendgrid(scene, bounced(who)).json() == {"taken": 1, "known": 0, "unknown": 0}
    assert status(scene, one.message.id) == ("bounced", "hard", "user_unknown")


def test_hits_that_are_not_committed_yet_keep_no_event_waiting(scene: Scene) -> None:
    log_file = scene.store.fact_log.append([("consent", ConsentChange([], datetime.now(UTC), True, ""))])
    try:
        assert from_sendgrid(scene, bounced("nobody@example.com")).json() == {"taken": 0, "known": 0, "unknown": 1}
    finally:
        scene.store.fact_log.mark_committed(log_file, 1)


def test_mail_that_the_provider_suppressed_bounces_and_suppresses_nothing(scene: Scene) -> None:
    who = "dropped@example.com"
    message = sent(scene, who)
    assert from_sendgrid(scene, bounced(who, event="dropped", reason="Bounced Address", status="5.0.0")).json()["taken"]
    assert status(scene, message) == (Status.BOUNCED, "soft", "suppressed") and not held(scene, who)
