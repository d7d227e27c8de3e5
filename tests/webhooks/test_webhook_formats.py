"""The formats of Postmark, SendGrid and Mailgun, as django-anymail's own views for those three take them.

Everything goes the whole way: an event in the store, a request over HTTP, and its octets into the view, which
verifies the signature and says what it understood.
"""

import asyncio
import base64
import json
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import django
import pytest
from django.conf import settings

from relay import ids, tokens, webhook_signatures
from relay.bounce import classify
from relay.config.schema import Config
from relay.config.webhook import WebhookConfig as Configured
from relay.delivery.webhooks import smtp_reply
from relay.delivery.webhooks.sender import WebhookSender
from relay.event_type import EventType
from relay.store.database.tables import Status
from relay.store.queue import deliveries, late_reports, outcomes
from relay.store.queue.late_reports import LateReport
from relay.store.queue.queue_facts import AttemptRecord, Outcome
from relay.store.store import Store
from relay.store.tracking import hits
from relay.store.tracking.hit_facts import Hit
from relay.store.webhooks import endpoints
from tests import sqlite_file
from tests.message_factory import new_message
from tests.receiver import Arrived, Receiver, receiving
from tests.user_agents import PHONE
from tests.waiting import MAX_WAIT_S

SECRET = "a signing key"
NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
Understood = list[tuple[str, Any]]  # Any: anymail's events


@pytest.fixture(scope="module")
def anymail() -> Callable[[str, Arrived, dict[str, str]], Understood]:
    """Puts a request into anymail's view. Returns the events that it made, each with the view's status."""
    if not settings.configured:
        settings.configure(SECRET_KEY="x", ALLOWED_HOSTS=["*"], INSTALLED_APPS=["anymail"], USE_TZ=True)
        django.setup()
    from anymail.signals import tracking
    from anymail.webhooks import mailgun, postmark, sendgrid
    from django.test import RequestFactory

    views: dict[str, Any] = {  # Any: anymail has no types
        "postmark": postmark.PostmarkTrackingWebhookView,
        "sendgrid": sendgrid.SendGridTrackingWebhookView,
        "mailgun": mailgun.MailgunTrackingWebhookView,
    }

    def put(format_: str, arrived: Arrived, keys: dict[str, str]) -> Understood:
        heard: Understood = []

        def hear(event: Any, **_: object) -> None:  # Any: as above
            heard.append((event.event_type, event))

        tracking.connect(hear)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # on SendGrid, whose makers anymail no longer hears from
                view = views[format_].as_view(**keys)
                given = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in arrived.headers.items()}
                request = RequestFactory().post("/", arrived.body, content_type="application/json", **given)
                assert view(request).status_code == 200
        finally:
            tracking.disconnect(hear)
        return heard

    return put


class MessageHistory:
    """One message to Ann, and all that can happen to it, told in one format."""

    def __init__(self, folder: Path, receiver: Receiver, format_: str, **more: object) -> None:
        self.store = Store(sqlite_file.make_database_with_tables(folder), folder)
        self.ring = tokens.open_key_ring(folder / "keys.json")
        self.receiver, self.format, self.at = receiver, format_, NOW
        url = receiver.url.replace("://", "://ann:secret@") + f"/{format_}/ok"
        given = Configured.model_validate({"url": url, "secret": SECRET, "format": format_} | more)
        adding = self.store.writer.submit(lambda s: endpoints.add_webhook(s, given, NOW, endpoints.COMMAND))
        self.hook = adding.result(MAX_WAIT_S)
        one = new_message("ann@example.com", at=NOW, stream="news")
        one.message.message_id, one.message.subject = "<m1@sender.test>", "Spring"
        one.message.tags, one.message.meta = ["spring", "offer"], {"order": "1047"}
        self.message = one.message.id
        self._write(lambda connection: deliveries.insert_message(connection, one))

    def _write(self, work: Callable[[Any], object]) -> None:
        self.at += timedelta(seconds=30)
        self.store.writer.submit(work).result(60)

    def ended(self, status: Status, code: int, enhanced: str, text: str, category: str = "", rule: str = "") -> None:
        tried = AttemptRecord("scripted", "rcpt", code, enhanced, text, 3) if code else None
        again = self.at + timedelta(hours=1) if status.is_open else None
        one = Outcome(
            ids.new(), 0, "ann@example.com", status, self.at, "hard", category, rule, tried, next_attempt_at=again
        )
        self._write(lambda connection: outcomes.record_outcomes(connection, self.message, [one]))

    def hit(self, type_: EventType, verdict: str, **more: Any) -> None:  # Any: a Hit's fields
        one = Hit(ids.new(), type_, self.at, self.message, 0, verdict, user_agent=PHONE, ip="203.0.113.0", **more)
        self._write(lambda connection: hits.record_hit(connection, one))

    def complained(self) -> None:
        tried = AttemptRecord("", "report", 0, "", "abuse", 0)
        one = LateReport(ids.new(), EventType.COMPLAINED, self.at, self.message, 0, tried)
        self._write(lambda connection: late_reports.apply_report(connection, one))

    def send_webhooks(self) -> list[Arrived]:
        async def run() -> None:
            sender = WebhookSender(Config(), self.store, self.ring, now=lambda: self.at + timedelta(days=1))
            await sender.send_all_due()
            await sender.drain(30)  # it ends as soon as all is told

        asyncio.run(run())
        self.store.close()
        return self.receiver.at(f"/{self.format}/ok")


KEYS = {"postmark": {}, "sendgrid": {}, "mailgun": {"webhook_signing_key": SECRET}}


@pytest.fixture
def play(
    tmp_path: Path, anymail: Callable[[str, Arrived, dict[str, str]], Understood]
) -> Iterator[Callable[..., tuple[list[Any], Understood]]]:
    """Plays a life of the message in a format: its requests' JSON, and what anymail makes of them."""
    with receiving() as receiver:

        def run(format_: str, life: Callable[[MessageHistory], None], **more: object) -> tuple[list[Any], Understood]:
            scene = MessageHistory(tmp_path, receiver, format_, **more)
            life(scene)
            keys = dict(KEYS[format_])
            if format_ == "sendgrid":
                seed = scene.ring.derive_secret(webhook_signatures.key_purpose(scene.hook.id))
                keys["tracking_webhook_verification_key"] = webhook_signatures.format_public_key(
                    webhook_signatures.derive_private_key(seed)
                )
            arrived = scene.send_webhooks()
            understood = [event for one in arrived for event in anymail(format_, one, keys)]
            return [one.json for one in arrived], understood

        yield run


def _happy(scene: MessageHistory) -> None:
    scene.ended(Status.DEFERRED, 451, "4.7.1", "greylisted, try again", "greylisted")
    scene.ended(Status.DELIVERED, 250, "2.0.0", "taken as 12345")
    scene.hit(EventType.OPENED, "machine")
    scene.hit(EventType.OPENED, "human")
    scene.hit(EventType.CLICKED, "human", url="https://shop.example/a?b=1", link=1)
    scene.hit(EventType.UNSUBSCRIBED, "")
    scene.complained()


_ACCEPTED = {"postmark": [], "sendgrid": ["queued"], "mailgun": ["queued"]}


@pytest.mark.parametrize("format_", ["postmark", "sendgrid", "mailgun"])
def test_anymails_views_understand_a_life_of_a_message(
    play: Callable[..., tuple[list[Any], Understood]], format_: str
) -> None:
    said, heard = play(format_, _happy)
    assert [type_ for type_, _ in heard] == [
        *_ACCEPTED[format_],
        "deferred",
        "delivered",
        "opened",  # a person's: the machine's is left out
        "clicked",
        "unsubscribed",
        "complained",
    ]
    for _, event in heard:
        assert event.recipient == "ann@example.com" and event.metadata == {"order": "1047"}
        assert event.tags[0] == "spring"
        assert abs(event.timestamp - NOW) < timedelta(minutes=10)
    by_type = dict(heard)
    assert by_type["clicked"].click_url == "https://shop.example/a?b=1"
    assert by_type["opened"].user_agent == by_type["clicked"].user_agent == PHONE
    assert "greylisted, try again" in by_type["deferred"].mta_response
    assert "taken as 12345" in by_type["delivered"].mta_response
    ours = {"postmark": said[0].get("MessageID") if isinstance(said[0], dict) else "", "mailgun": "<m1@sender.test>"}
    assert by_type["delivered"].message_id == ours.get(format_, "<m1@sender.test>")


@pytest.mark.parametrize("format_", ["postmark", "sendgrid", "mailgun"])
@pytest.mark.parametrize(
    ("category", "reply", "reasons"),
    [
        ("user_unknown", (550, "5.1.1", "no such user"), ("bounced", None, "bounced")),
        ("reputation", (554, "5.7.1", "listed"), ("blocked", None, "other")),
    ],
)
def test_anymails_views_understand_a_bounce(
    play: Callable[..., tuple[list[Any], Understood]],
    format_: str,
    category: str,
    reply: tuple[int, str, str],
    reasons: tuple[str, str | None, str],
) -> None:
    _, heard = play(format_, lambda scene: scene.ended(Status.BOUNCED, *reply, category))
    type_, event = heard[-1]
    is_rejected = (format_, category) == ("postmark", "reputation")
    assert (type_, event.recipient) == ("rejected" if is_rejected else "bounced", "ann@example.com")
    assert event.reject_reason == reasons[("postmark", "sendgrid", "mailgun").index(format_)]
    assert reply[2] in event.mta_response


@pytest.mark.parametrize(
    ("format_", "expected"),
    [("sendgrid", ("rejected", "unsubscribed")), ("mailgun", ("bounced", "other")), ("postmark", None)],
)
def test_what_is_not_sent_to_a_suppressed_address_is_told_where_there_is_a_word_for_it(
    play: Callable[..., tuple[list[Any], Understood]], format_: str, expected: tuple[str, str] | None
) -> None:
    _, heard = play(format_, lambda scene: scene.ended(Status.SUPPRESSED, 0, "", "", "suppressed", rule="unsubscribe"))
    told = [(type_, event.reject_reason) for type_, event in heard if type_ != "queued"]
    assert told == ([expected] if expected else [])


def test_hits_of_machines_are_told_where_they_are_asked_for(
    play: Callable[..., tuple[list[Any], Understood]],
) -> None:
    said, heard = play("sendgrid", _happy, machines=True, events=["opened"])
    assert [type_ for type_, _ in heard] == ["opened", "opened"]
    assert [one[0].get("sg_machine_open") for one in said] == [True, None]


def test_the_password_in_a_url_is_sent_as_basic_authentication(tmp_path: Path) -> None:
    with receiving() as receiver:
        scene = MessageHistory(tmp_path, receiver, "postmark")
        scene.ended(Status.DELIVERED, 250, "2.0.0", "taken")
        [arrived] = scene.send_webhooks()
    assert base64.b64decode(arrived.headers["authorization"].removeprefix("Basic ")) == b"ann:secret"
    assert json.loads(arrived.body)["RecordType"] == "Delivery"


def test_failures_that_are_not_the_address_s_fault_are_categories_of_the_rules() -> None:
    assert classify.RULES.categories.keys() >= smtp_reply.BLOCK_CATEGORIES
    assert not any(classify.RULES.categories[name].suppress for name in smtp_reply.BLOCK_CATEGORIES)
