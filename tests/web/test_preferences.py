"""The unsubscribe page beyond its one button: streams, all of them, undo, languages, links that are too old."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import sqlalchemy as sa

from relay import ids
from relay.edits import Kind
from relay.event_type import EventType
from relay.store import retention
from relay.store.database import tables
from relay.store.recipients import suppressions
from relay.store.views import statistics
from tests.waiting import until
from tests.web.scene import Scene
from web import translations


def held_back(scene: Scene, recipient: str, *streams: str) -> list[bool]:
    now = datetime.now(UTC)
    return [
        bool(scene.read(partial(suppressions.find_suppressed, mailboxes=[recipient], stream=name, now=now)))
        for name in streams
    ]


def three_streams(scene: Scene, recipient: str) -> str:
    """Files a mail of each, and of one that nobody can leave; returns the path of one link."""
    for stream in ("", "Offers", "transactional"):
        scene.file(recipient, stream=stream)
    return scene.path(Kind.UNSUBSCRIBE, scene.file(recipient, stream="news"))


def test_the_page_offers_the_streams_that_the_recipient_has_had_mail_of(scene: Scene) -> None:
    path = three_streams(scene, "streams@example.com")
    page = scene.http.get(path).text
    assert page.count('type="checkbox"') == page.count(" checked") == 3
    assert "General mail" in page and "transactional" not in page
    chosen = {"action": "preferences", "seen-1": "", "seen-2": "Offers", "seen-3": "news", "keep-2": "yes"}
    saved = scene.http.post(path, data=chosen)
    assert saved.status_code == 200 and saved.text.count(" checked") == 1
    assert held_back(scene, "streams@example.com", "", "Offers", "news") == [True, False, True]
    assert "You are unsubscribed" in scene.http.get(path).text
    scene.http.post(path, data=chosen | {"keep-3": "yes"})
    assert held_back(scene, "streams@example.com", "", "Offers", "news") == [True, False, False]
    assert "Unsubscribe?" in scene.http.get(path).text


def test_all_can_be_left_at_once_and_taken_back(scene: Scene) -> None:
    path = three_streams(scene, "all@example.com")
    left = scene.http.post(path, data={"action": "unsubscribe-all"})
    assert left.status_code == 200 and "except mail about your account" in left.text
    assert held_back(scene, "all@example.com", "", "Offers", "news", "yet to come") == [True] * 4
    now = datetime.now(UTC)
    receipts = scene.read(
        lambda s: suppressions.find_suppressed(s, ["all@example.com"], "transactional", now, exempt=True)
    )
    assert not receipts
    assert "subscribed again" in scene.http.post(path, data={"action": "resubscribe"}).text
    assert held_back(scene, "all@example.com", "", "Offers", "news") == [False] * 3
    scene.http.post(path, data={"action": "unsubscribe-all"})
    some = {"action": "preferences", "seen-1": "", "seen-2": "Offers", "seen-3": "news", "keep-2": "yes"}
    scene.http.post(path, data=some)
    assert held_back(scene, "all@example.com", "", "Offers", "news") == [True, False, True]


def all_totals(scene: Scene) -> statistics.Totals:
    with scene.store.connect() as connection:
        return statistics.read_totals(connection, statistics.Selection(None))


def test_events_and_totals_show_what_was_left_and_what_was_taken_back(scene: Scene) -> None:
    before = all_totals(scene)
    message = scene.file("undone@example.com")
    path = scene.path(Kind.UNSUBSCRIBE, message)
    for action in ("unsubscribe", "resubscribe", "resubscribe", "unsubscribe-all"):
        assert scene.http.post(path, data={"action": action}).status_code == 200
    shown = scene.events(message, EventType.UNSUBSCRIBED, EventType.RESUBSCRIBED)
    assert [event["type"] for event in shown] == ["unsubscribed", "resubscribed", "unsubscribed"]
    assert [event["detail"] for event in shown] == ["", "streams: news", "streams: all"]
    after = all_totals(scene)
    assert (after.unsubscribed - before.unsubscribed, after.resubscribed - before.resubscribed) == (2, 1)


def test_a_link_older_than_the_records_never_claims_that_anything_was_done(scene: Scene) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=500)
    old = scene.file("old@example.com", id=ids.from_parts(int(long_ago.timestamp() * 1000), b"oldold"))
    path = scene.path(Kind.UNSUBSCRIBE, old)
    gone = sa.update(tables.delivery).where(tables.delivery.c.message == old).values(next_attempt_at=None)
    scene.write(lambda connection: connection.execute(gone))
    scene.write(lambda connection: retention.drop_messages(connection, datetime.now(UTC) - timedelta(days=400)))
    for answer in (scene.http.get(path), scene.http.post(path, data={"action": "unsubscribe"})):
        assert answer.status_code == 410 and "too old" in answer.text and "unsubscribed" not in answer.text
    one_click = scene.http.post(path, data={"List-Unsubscribe": "One-Click"})
    assert one_click.status_code == 410 and one_click.text.startswith("Not done")
    assert held_back(scene, "old@example.com", "news") == [False]


@pytest.mark.parametrize("name", list(translations.TEXTS))
def test_every_language_says_everything(scene: Scene, name: str) -> None:
    spoken = translations.TEXTS[name]
    assert set(translations._TRANSLATIONS[name]) == set(translations._TRANSLATIONS["en"])
    path = three_streams(scene, f"{name}@example.com")
    asked = scene.http.get(path, headers={"accept-language": f"{name}-XX;q=0.9, en;q=0.5"})
    assert f'<html lang="{spoken["lang"]}">' in asked.text and asked.headers["content-language"] == spoken["lang"]
    assert "accept-language" in asked.headers["vary"]
    for key in ("ask_title", "ask_button", "streams_title", "quiet_button"):
        assert spoken[key] in asked.text
    done = scene.http.post(path, data={"action": "unsubscribe"}, headers={"accept-language": name})
    assert spoken["done_title"] in done.text and spoken["undo"] in done.text


@pytest.mark.parametrize(
    ("field", "lang"),
    [
        ("", "en"),
        ("de", "de"),
        ("de-AT,en;q=0.8", "de"),
        ("en;q=0.3, fr;q=0.7", "fr"),
        ("xx, nl;q=0.1", "nl"),
        ("de;q=0, es;q=0.1", "es"),
        ("zh-TW", "zh-Hans"),
        ("*", "en"),
        (";;q=,,=", "en"),
        ("fr, it", "fr"),
        ("FR;Q=1", "fr"),
        ("x" * 9000, "en"),
    ],
)
def test_the_language_that_is_wanted_most_is_spoken(field: str, lang: str) -> None:
    assert translations.choose_texts(field)["lang"] == lang


def test_a_choice_made_while_the_database_is_away_holds_when_it_is_back(scene: Scene) -> None:
    path = scene.path(Kind.UNSUBSCRIBE, ids.new())  # its message is still to be written down
    assert scene.http.post(path, data={"action": "unsubscribe-all"}).status_code == 200
    until(lambda: scene.store.journal.has_pending)
