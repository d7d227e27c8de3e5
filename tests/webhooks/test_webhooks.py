"""Webhooks, as a receiver meets them: sent at least once, in order for each message, signed; and what failure does."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from relay import webhook_signatures
from relay.config.schema import Config
from relay.config.webhook import WebhookConfig as Configured
from relay.delivery.webhooks.request import next_attempt
from relay.delivery.webhooks.sender import WebhookSender
from relay.store.database import webhook_tables
from relay.store.database.identities import IdentityPolicy
from relay.store.store import Store
from relay.store.webhooks import endpoints, webhook_queue
from tests import sqlite_file
from tests.message_factory import count_rows, insert_messages, new_message
from tests.receiver import Receiver, receiving
from tests.waiting import until_async
from tests.webhooks.webhook_scene import SECRET, WebhookScene, verified

DAY = timedelta(days=1)


@pytest.fixture
def scene(opened: Store, tmp_path: Path) -> WebhookScene:
    return WebhookScene(opened, tmp_path)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


def test_the_signature_is_the_one_of_the_standards_own_example() -> None:
    # https://github.com/standard-webhooks/standard-webhooks, the example of its libraries.
    made = webhook_signatures.standard_webhooks_signature(
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_an_event_is_told_as_the_api_shows_it_and_signed(scene: WebhookScene, receiver: Receiver) -> None:
    hook = scene.hook(f"{receiver.url}/object/ok")
    message = scene.happened("ann@example.com").message
    scene.tell()
    accepted, delivered = receiver.at("/object/ok")
    assert (accepted.json["type"], accepted.json["id"], accepted.json["delivery"]) == (
        "accepted",
        message.id,
        None,
    )
    assert delivered.json["recipient"] == "ann@example.com" and delivered.json["delivery"] == f"{message.id}.0"
    assert delivered.json["detail"] == "250 2.0.0 taken" and delivered.headers["webhook-id"] == delivered.json["id"]
    assert all(verified(one, SECRET) for one in (accepted, delivered))
    assert scene.status_of(hook).waiting == 0
    [newest, _] = scene.log(hook)
    assert (newest.code, newest.response, newest.event) == (200, "thank you", delivered.json["id"])
    assert newest.request.encode() == delivered.body and newest.headers["webhook-id"] == delivered.json["id"]


def test_only_the_events_that_were_asked_for_are_sent(scene: WebhookScene, receiver: Receiver) -> None:
    scene.hook(f"{receiver.url}/chosen/ok", events=["bounced", "accepted"])
    scene.happened("ann@example.com")
    scene.tell()
    assert [one.json["type"] for one in receiver.at("/chosen/ok")] == ["accepted"]


def test_a_message_is_told_in_order_and_one_that_fails_holds_up_no_other(
    scene: WebhookScene, receiver: Receiver
) -> None:
    hook = scene.hook(f"{receiver.url}/order/e503-n1")
    first, second = (scene.happened(who).message.id for who in ("ann@example.com", "bob@example.com"))
    scene.tell()
    tried = [one.json["message"] for one in receiver.at("/order/e503-n1")]
    held, other = sorted((first, second), key=tried.count)  # they are told side by side; one's first event failed,
    assert (tried.count(held), tried.count(other)) == (1, 2)  # and its second waits behind that
    scene.clock.at += timedelta(seconds=6)
    scene.tell()
    told = [one.json["type"] for one in receiver.at("/order/e503-n1") if one.json["message"] == held]
    assert told == ["accepted", "accepted", "delivered"]
    assert scene.status_of(hook).waiting == 0 and scene.status_of(hook).webhook.failing_since is None


def test_an_endpoint_that_is_down_is_asked_by_one_request_at_a_time(scene: WebhookScene, receiver: Receiver) -> None:
    hook = scene.hook(f"{receiver.url}/down/e500", events=["delivered"])
    other = scene.hook(f"{receiver.url}/beside/ok", events=["delivered"])
    for n in range(40):
        scene.happened(f"r{n}@example.com")
    scene.tell()
    assert 1 <= len(receiver.at("/down/e500")) <= 18  # those that were under way together, and one more
    assert [(one.code, one.error) for one in scene.log(other) if one.code != 200] == []
    assert len(receiver.at("/beside/ok")) == 40
    assert scene.status_of(hook).waiting == 40 and scene.status_of(other).waiting == 0


def test_an_endpoint_that_takes_nothing_for_a_day_is_disabled_and_can_be_enabled(
    scene: WebhookScene, receiver: Receiver
) -> None:
    hook = scene.hook(f"{receiver.url}/day/500", events=["delivered"])
    receiver.answers["/day/500"] = 500
    scene.happened("ann@example.com")
    at = []
    while scene.status_of(hook).webhook.state == "on":
        scene.tell()
        at.append(scene.log(hook)[0].at)
        scene.clock.at = scene.log(hook)[0].next_attempt_at or scene.clock.at
        assert len(at) < 20
    since = [round((one - at[0]) / timedelta(minutes=1)) for one in at]
    assert since == [0, 0, 5, 35, 155, 455, 1055, 1440]
    assert "24 hours" in scene.status_of(hook).webhook.reason and "500" in scene.status_of(hook).webhook.reason
    scene.happened("bob@example.com")
    assert scene.status_of(hook).waiting == 0  # the one was given up, the other is not kept for it
    receiver.answers["/day/500"] = 204
    scene.store.writer.submit(lambda s: endpoints.enable_webhook(s, hook.id, scene.clock())).result(60)
    count_, _ = scene.store.writer.submit(
        lambda s: endpoints.replay_events(s, hook.id, scene.clock(), scene.clock() - 2 * DAY, scene.clock() + DAY)
    ).result(60)
    scene.tell()
    assert count_ == 2
    told = [one.json["recipient"] for one in receiver.at("/day/500")][-2:]
    assert sorted(told) == ["ann@example.com", "bob@example.com"]


def test_410_disables_at_once_and_a_redirect_is_a_failure(scene: WebhookScene, receiver: Receiver) -> None:
    gone, moved = scene.hook(f"{receiver.url}/gone/e410"), scene.hook(f"{receiver.url}/moved/e302")
    receiver.headers["location"] = f"{receiver.url}/elsewhere/ok"
    scene.happened("ann@example.com")
    scene.tell()
    receiver.headers.clear()
    assert (scene.status_of(gone).webhook.state, scene.status_of(gone).webhook.reason) == (
        "disabled",
        "it answered 410 Gone",
    )
    assert scene.log(moved)[0].code == 302 and not receiver.at("/elsewhere/ok")


def test_retry_after_is_waited_for(scene: WebhookScene, receiver: Receiver) -> None:
    hook = scene.hook(f"{receiver.url}/wait/e429", events=["delivered"])
    receiver.headers["retry-after"] = "3600"
    scene.happened("ann@example.com")
    scene.tell()
    receiver.headers.clear()
    assert scene.log(hook)[0].next_attempt_at == scene.clock() + timedelta(hours=1)


def test_an_endpoint_that_hangs_or_talks_without_end_holds_nobody_up(scene: WebhookScene, receiver: Receiver) -> None:
    hanging = Configured(url=f"{receiver.url}/hang", secret=SECRET, events=["delivered"], timeout="300ms")
    config = Config(webhook=[hanging])
    scene.store.writer.submit(lambda s: endpoints.sync_from_config(s, config.webhook, scene.clock())).result(60)
    large, nobody = scene.hook(f"{receiver.url}/large"), scene.hook("http://127.0.0.1:9/", events=["delivered"])
    scene.happened("ann@example.com")
    scene.tell(config)
    with scene.store.connect() as connection:
        [held] = endpoints.list_webhook_log(connection, endpoints.configured_id(hanging), 10)
    assert (held.code, held.error) == (0, "no answer within 0.3 s")
    assert [one.response for one in scene.log(large)] == ["x" * 2048] * 2
    assert scene.log(nobody)[0].error.startswith("ConnectError")


def test_while_a_secret_changes_requests_are_signed_with_both(scene: WebhookScene, receiver: Receiver) -> None:
    hook = scene.hook(f"{receiver.url}/both/ok", events=["delivered"])
    new: str = scene.store.writer.submit(lambda s: endpoints.rotate_secret(s, hook.id, scene.clock())).result(60)
    scene.happened("ann@example.com")
    scene.tell()
    [one] = receiver.at("/both/ok")
    assert verified(one, new) and verified(one, SECRET, 1)
    scene.clock.at += DAY
    scene.happened("ann@example.com")
    scene.tell()
    assert receiver.at("/both/ok")[1].headers["webhook-signature"].count("v1,") == 1


def test_what_is_leased_by_a_worker_that_died_is_told_when_the_lease_lapses(
    scene: WebhookScene, receiver: Receiver
) -> None:
    hook = scene.hook(f"{receiver.url}/lapse/ok", events=["delivered"])
    scene.happened("ann@example.com")
    now = scene.clock()
    held = scene.store.writer.submit(
        lambda s: webhook_queue.lease_due_requests(s, {hook.id: 5}, "dead", now, now + timedelta(minutes=2))
    ).result(60)
    scene.tell()
    assert len(held) == 1 and not receiver.at("/lapse/ok")
    scene.clock.at += timedelta(minutes=3)
    scene.tell()
    assert len(receiver.at("/lapse/ok")) == 1


def test_two_machines_tell_each_event_once_and_in_order(scene: WebhookScene, receiver: Receiver) -> None:
    scene.hook(f"{receiver.url}/two/ok")
    for n in range(12):
        scene.happened(f"r{n}@example.com")

    async def run() -> None:
        two = [WebhookSender(Config(), scene.store, scene.ring, now=scene.clock) for _ in range(2)]
        tasks = [asyncio.create_task(one.run()) for one in two]
        await until_async(lambda: not count_rows(scene.store, webhook_tables.webhook_queue))
        await asyncio.gather(*(one.drain(2) for one in two), *tasks)

    asyncio.run(asyncio.wait_for(run(), 60))
    by_message: dict[str, list[str]] = {}
    for arrived in receiver.at("/two/ok"):
        by_message.setdefault(arrived.json["message"], []).append(arrived.json["type"])
    assert list(by_message.values()) == [["accepted", "delivered"]] * 12


def test_where_people_are_veiled_a_webhook_and_its_log_name_nobody(receiver: Receiver, tmp_path: Path) -> None:
    one = Store(sqlite_file.make_database_with_tables(tmp_path), tmp_path, IdentityPolicy("pseudonymous", bytes(32)))
    scene = WebhookScene(one, tmp_path)
    hook = scene.hook(f"{receiver.url}/veiled/ok", format="sendgrid", events=["accepted"])
    insert_messages(one, new_message("ann@example.com", "bob@example.com"))  # both still wait
    scene.tell()
    [arrived] = receiver.at("/veiled/ok")
    assert len({told["email"] for told in arrived.json}) == 2 and b"@example.com" not in arrived.body
    assert [(line.code, line.request, line.response) for line in scene.log(hook)] == [(200, "", "")]
    one.close()


def test_events_owe_nothing_where_nobody_listens_and_the_log_is_kept_small(
    scene: WebhookScene, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.happened("ann@example.com")
    assert count_rows(scene.store, webhook_tables.webhook_queue) == 0
    hook = scene.hook(f"{receiver.url}/small/ok")
    monkeypatch.setattr(endpoints, "MAX_LOGGED", 3)
    scene.happened("ann@example.com", "bob@example.com", "cy@example.com")
    scene.tell()
    assert len(scene.log(hook)) == 4
    newest = scene.log(hook)[0].id
    assert scene.store.writer.submit(lambda s: endpoints.delete_old_log(s, scene.clock() - DAY)).result(60) == 1
    assert len(scene.log(hook)) == 3 and scene.log(hook)[0].id == newest
    assert scene.store.writer.submit(lambda s: endpoints.delete_old_log(s, datetime.now(UTC) + DAY)).result(60) == 3


def test_retries_end_after_a_day_and_the_last_one_is_then() -> None:
    first = datetime(2026, 1, 1, tzinfo=UTC)
    hour = (timedelta(hours=1),)
    assert next_attempt(hour, 1, first, first, 0.75) == first + timedelta(hours=1.05)
    assert next_attempt(hour, 30, first, first + timedelta(hours=23.5), 0.5) == first + DAY
    assert next_attempt(hour, 31, first, first + DAY, 0.5) is None
    assert next_attempt(hour, 1, first, first, 0.5, timedelta(hours=3)) == first + timedelta(hours=3)
