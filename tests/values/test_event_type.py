"""`EventType` is the one list of events: whatever names them follows it, and leaves none out silently."""

import re
import typing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from relay import ids, webhook_format, webhook_signatures
from relay.config.webhook import EventName, WebhookConfig
from relay.delivery.webhooks import payload
from relay.event_type import EventType
from relay.store.database.tables import Status
from relay.store.tracking import verdicts
from relay.store.views import webhook_event
from relay.store.views.statistics import Totals

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
# Events that a format of another vendor does not have.
NOT_SENT: dict[str, set[EventType]] = {
    webhook_format.WAYPOST: set(),
    webhook_format.SENDGRID: set(),
    webhook_format.POSTMARK: {EventType.ACCEPTED, EventType.SUPPRESSED},
    webhook_format.MAILGUN: {EventType.RESUBSCRIBED},
}


def test_a_webhook_may_ask_for_each_type() -> None:
    assert typing.get_args(EventName) == ("*", *(event_type.value for event_type in EventType))
    for event_type in EventType:
        given = {"url": "https://app.example.com/", "secret": webhook_signatures.new_secret(), "events": [event_type]}
        assert WebhookConfig.model_validate(given).events == [event_type]


@pytest.mark.parametrize("format_", webhook_format.FORMATS)
@pytest.mark.parametrize("event_type", EventType)
def test_each_format_sends_each_type_or_has_none_for_it(format_: str, event_type: EventType) -> None:
    seed, secrets = bytes(32), (webhook_signatures.new_secret(),)
    endpoint = payload.Endpoint("w", "https://x.example/", format_, True, secrets, seed, (), timedelta(seconds=10))
    event = webhook_event.sample_event(ids.new(NOW), ids.new(NOW), NOW)._replace(type=event_type)
    is_sent = payload.compose_request(endpoint, event, 0) is not None
    assert is_sent == (event_type not in NOT_SENT[format_])


def test_each_status_that_an_attempt_ends_with_is_an_event() -> None:
    assert {status.value for status in Status} - {Status.QUEUED.value} <= {event_type.value for event_type in EventType}


def test_statistics_count_each_type() -> None:
    counted = {"opened": "opens", "clicked": "clicks"}
    for event_type in EventType:
        assert counted.get(event_type, event_type.value) in Totals._fields
    assert {event_type for event_type, _ in verdicts.COUNTERS} == {EventType.OPENED, EventType.CLICKED}


def test_the_page_of_a_message_and_the_docs_name_each_type() -> None:
    page = (ROOT / "web" / "templates" / "message.html").read_text("utf-8")
    named = set(re.findall(r'event\.type == "(\w+)"', page))
    assert named == set(EventType)
    docs = (ROOT / "docs" / "api.md").read_text("utf-8")
    assert all(re.search(rf"\b{event_type}\b", docs) for event_type in EventType)
