"""Webhooks from the whole program: from acceptance to click, and across kill -9."""

from collections.abc import Iterator

import pytest

from relay import webhook_signatures
from tests.receiver import Receiver, receiving
from tests.upstream import ScriptedUpstream
from tests.waiting import until
from tests.waypost_server import Waypost, html_mail, tracking_urls
from tests.webhooks.webhook_scene import verified

SECRET = webhook_signatures.new_secret()


@pytest.fixture(scope="module")
def listener() -> Iterator[Receiver]:
    """The one of the relay's configuration."""
    with receiving() as one:
        yield one


@pytest.fixture(scope="module")
def with_webhook(
    listener: Receiver, upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Waypost]:
    """A relay whose configuration names a webhook."""
    table = f'[[webhook]]\nurl = "{listener.url}/relay/ok"\nsecret = "{SECRET}"\nretry = ["100ms"]\n'
    with Waypost(tmp_path_factory.mktemp("told"), upstream.port, table) as running:
        yield running


def test_from_acceptance_to_click_the_receiver_hears_it_all(
    with_webhook: Waypost, listener: Receiver, upstream: ScriptedUpstream
) -> None:
    assert with_webhook.send(html_mail(), "heard@example.com").startswith("250")
    urls = tracking_urls(upstream.to("heard@example.com")[0].octets)
    assert with_webhook.get(urls["c"][0]).status_code == 302
    arrived = listener.wait("/relay/ok", 3)
    assert [one.json["type"] for one in arrived] == ["accepted", "delivered", "clicked"]
    assert all(verified(one, SECRET) for one in arrived)
    assert arrived[2].json == next(row for row in with_webhook.rows("events") if row["type"] == "clicked")


def test_nothing_is_lost_when_the_server_is_killed(with_webhook: Waypost, listener: Receiver) -> None:
    listener.answers["/relay/ok"] = 503
    before = len(listener.at("/relay/ok"))
    for n in range(5):
        assert with_webhook.send(html_mail(), f"kill{n}@example.com").startswith("250")
    listener.wait("/relay/ok", before + 1)
    with_webhook.kill()
    listener.answers["/relay/ok"] = 200
    before = len(listener.at("/relay/ok"))
    with_webhook.start()
    arrived = until(
        lambda: listener.at("/relay/ok")[before:], fits=lambda some: len({one.json["id"] for one in some}) >= 10
    )
    by_message: dict[str, list[str]] = {}
    for one in arrived:
        by_message.setdefault(one.json["message"], []).append(one.json["type"])
    # At least once: what was answered as the server died may come again.
    assert [list(dict.fromkeys(types)) for types in by_message.values()] == [["accepted", "delivered"]] * 5
