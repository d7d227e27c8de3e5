"""The way out, as mailbox providers and people take it.  RFC 8058.

Always: GET changes nothing; a POST takes effect at once, and a second one changes nothing more.
"""

import base64
from datetime import UTC, datetime
from pathlib import Path

import pytest

from relay import ids
from relay.edits import Kind
from relay.event_type import EventType
from relay.store import store
from relay.store.recipients import consent, suppressions
from tests.waiting import until
from tests.web.scene import Scene
from web import rendering
from web.public.unsubscribe import mask_recipient

ONE_CLICK = {"List-Unsubscribe": "One-Click"}


def held_back(scene: Scene, recipient: str, stream: str) -> bool:
    now = datetime.now(UTC)
    return bool(scene.read(lambda connection: suppressions.find_suppressed(connection, [recipient], stream, now)))


def test_get_asks_and_changes_nothing(scene: Scene) -> None:
    message = scene.file("anna@example.com")
    answer = scene.http.get(scene.path(Kind.UNSUBSCRIBE, message))
    assert answer.status_code == 200
    assert "a***@example.com" in answer.text and "anna" not in answer.text
    assert answer.text.count('<form method="post">') == 2
    assert 'value="unsubscribe"' in answer.text and 'value="dont-track"' in answer.text
    assert "<script" not in answer.text and "http://" not in answer.text and "https://" not in answer.text
    assert 'name="viewport"' in answer.text
    assert "set-cookie" not in answer.headers
    assert "style-src 'sha256-" in answer.headers["content-security-policy"]
    assert not scene.events(message)
    assert not held_back(scene, "anna@example.com", "news")


def test_the_page_says_who_sends_as_the_mail_does(scene: Scene) -> None:
    message = scene.file("who@example.com", author='"Shop <i>" <news@shop.example>')
    page = scene.http.get(scene.path(Kind.UNSUBSCRIBE, message)).text
    assert "<b>Shop &lt;i&gt;</b> <span>shop.example</span>" in page and "news@" not in page and "<img" not in page
    bare = scene.http.get(scene.path(Kind.UNSUBSCRIBE, scene.file("bare@example.com", author="news@shop.example"))).text
    assert "<span>shop.example</span>" in bare and "<b>" not in bare


@pytest.mark.parametrize(
    ("author", "name", "domain"),
    [
        ("Ann <3 Seeds <ann@shop.example>", "Ann <3 Seeds", "shop.example"),
        ('"Ann <3" <ann@Shop.example>', "Ann <3", "shop.example"),
        ("Ann <ann@shop.example>, Bob <bob@other.example>", "Ann", "shop.example"),
        ("ann@shop.example", "", "shop.example"),
        ("<ann@shop.example>", "", "shop.example"),
        ("undisclosed <>", "", ""),
    ],
)
def test_console_and_public_pages_split_an_author_alike(author: str, name: str, domain: str) -> None:
    assert rendering.SenderIdentity("").or_author(author) == rendering.SenderIdentity(name, domain)
    assert rendering.author_name(author) == (name or author)


def test_name_logo_and_titles_of_streams_are_the_configured_ones(tmp_path: Path) -> None:
    logo = tmp_path / "logo.svg"
    logo.write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    given = {"sender": "Acme & Sons", "logo": str(logo), "title": [{"stream": "news", "title": "Our <news>"}]}
    with Scene(tmp_path, {"unsubscribe": given}) as scene:
        answer = scene.http.get(scene.path(Kind.UNSUBSCRIBE, scene.file("own@example.com", author="a@shop.example")))
        assert "<b>Acme &amp; Sons</b> <span>shop.example</span>" in answer.text and "Our &lt;news&gt;" in answer.text
        assert f"data:image/svg+xml;base64,{base64.b64encode(logo.read_bytes()).decode()}" in answer.text
        assert "img-src data:" in answer.headers["content-security-policy"]
        missing = scene.http.get("/u/nothing")
        assert missing.status_code == 404 and "Acme &amp; Sons" in missing.text


@pytest.mark.parametrize("encoding", ["urlencoded", "multipart", "odd case", "empty", "no type"])
def test_one_click_acts_at_once_in_every_encoding(scene: Scene, encoding: str) -> None:
    recipient = f"{encoding.replace(' ', '.')}@example.com"
    path = scene.path(Kind.UNSUBSCRIBE, scene.file(recipient))
    match encoding:
        case "urlencoded":
            answer = scene.http.post(path, data=ONE_CLICK)
        case "multipart":
            answer = scene.http.post(path, files={"List-Unsubscribe": (None, "One-Click")})
        case "odd case":
            answer = scene.http.post(path, data={"list-unsubscribe": "one-click"})
        case "empty":
            answer = scene.http.post(path)
        case _:
            answer = scene.http.post(path, content=b"List-Unsubscribe=One-Click")
    assert answer.status_code == 200
    assert "unsubscribed" in answer.text
    assert "set-cookie" not in answer.headers and "location" not in answer.headers
    assert held_back(scene, recipient, "news")
    assert not held_back(scene, recipient, "receipts")


def test_a_second_time_changes_nothing(scene: Scene) -> None:
    message = scene.file("twice@example.com")
    path = scene.path(Kind.UNSUBSCRIBE, message)
    answers = [scene.http.post(path, data=ONE_CLICK) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    (event,) = scene.events(message, EventType.UNSUBSCRIBED)
    assert (event["reasons"], event["verdict"]) == (["one_click"], "human")
    entries = scene.read(lambda connection: suppressions.list_suppressions(connection, 10, "twice@example.com"))
    assert [(entry["scope"], entry["stream"], entry["reason"]) for entry in entries] == [
        ("stream", "news", "unsubscribe")
    ]


def test_the_page_s_own_form_confirms_and_offers_to_undo(scene: Scene) -> None:
    message = scene.file("undo@example.com")
    path = scene.path(Kind.UNSUBSCRIBE, message)
    gone = scene.http.post(path, data={"action": "unsubscribe"})
    assert gone.status_code == 200
    assert "You are unsubscribed" in gone.text and 'value="resubscribe"' in gone.text
    assert held_back(scene, "undo@example.com", "news")
    assert "You are unsubscribed" in scene.http.get(path).text
    back = scene.http.post(path, data={"action": "resubscribe"})
    assert back.status_code == 200 and "subscribed again" in back.text
    assert not held_back(scene, "undo@example.com", "news")
    assert "Unsubscribe?" in scene.http.get(path).text
    scene.http.post(path, data={"action": "unsubscribe"})
    assert held_back(scene, "undo@example.com", "news")


def test_being_left_untracked_is_apart_from_unsubscribing(scene: Scene) -> None:
    message = scene.file("private@example.com")
    path = scene.path(Kind.UNSUBSCRIBE, message)
    answer = scene.http.post(path, data={"action": "dont-track"})
    assert answer.status_code == 200
    assert "not recorded" in answer.text and "Unsubscribe?" in answer.text
    assert not held_back(scene, "private@example.com", "news")
    assert "not recorded" in scene.http.get(path).text


def test_do_not_track_me_can_be_undone_by_who_said_it_and_nobody_else_s_no(scene: Scene) -> None:
    def untracked(recipient: str) -> bool:
        return bool(scene.write(lambda connection: consent.find_untracked(connection, [recipient])))

    path = scene.path(Kind.UNSUBSCRIBE, scene.file("again@example.com"))
    scene.http.post(path, data={"action": "dont-track"})
    assert untracked("again@example.com")
    assert 'value="track"' in scene.http.get(path).text
    answer = scene.http.post(path, data={"action": "track"})
    assert "recorded again" in answer.text and 'value="dont-track"' in answer.text
    assert not untracked("again@example.com")
    assert 'value="track"' not in scene.http.get(path).text

    path = scene.path(Kind.UNSUBSCRIBE, scene.file("theirs@example.com"))
    scene.write(
        lambda connection: consent.change_consent(
            connection,
            consent.ConsentChange(["theirs@example.com"], datetime.now(UTC), is_yes=False, source=consent.API),
        )
    )
    page = scene.http.get(path).text
    assert "not recorded" in page and 'value="track"' not in page
    scene.http.post(path, data={"action": "track"})
    assert untracked("theirs@example.com")


@pytest.mark.parametrize("body", [{"action": "delete"}, {"List-Unsubscribe": "Two-Click"}, {"x": ""}])
def test_a_form_that_says_something_else_gets_the_page_that_asks(scene: Scene, body: dict[str, str]) -> None:
    message = scene.file("else@example.com")
    answer = scene.http.post(scene.path(Kind.UNSUBSCRIBE, message), data=body)
    assert answer.status_code == 400
    assert "Unsubscribe?" in answer.text
    assert not held_back(scene, "else@example.com", "news")


def test_bad_tokens_and_bodies_change_nothing(scene: Scene) -> None:
    message = scene.file("bad@example.com")
    for path in ("/u/x", scene.path(Kind.UNSUBSCRIBE, message)[:-2], "/u/" + scene.path(Kind.CLICK, message)[3:]):
        assert scene.http.get(path).status_code == 404
        assert scene.http.post(path, data=ONE_CLICK).status_code == 404
    path = scene.path(Kind.UNSUBSCRIBE, message)
    too_long = scene.http.post(path, content=b"x" * (1 << 20), headers={"content-type": "text/plain"})
    assert too_long.status_code == 413
    too_many = scene.http.post(path, content=b"&".join(b"a=b" for _ in range(100)))
    assert too_many.status_code == 400
    broken = scene.http.post(path, content=b"--x", headers={"content-type": "multipart/form-data"})
    assert broken.status_code == 400
    assert not held_back(scene, "bad@example.com", "news")


def test_a_message_that_is_not_known_yet_can_be_left_all_the_same(scene: Scene) -> None:
    path = scene.path(Kind.UNSUBSCRIBE, ids.new())
    assert "You will get no more" in scene.http.get(path).text
    assert scene.http.post(path, data=ONE_CLICK).status_code == 200
    until(lambda: scene.store.journal.has_pending)


def test_if_it_cannot_be_kept_it_does_not_look_done(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(self: store.Store, name: str, value: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.Store, "record", refuse)
    path = scene.path(Kind.UNSUBSCRIBE, scene.file("full@example.com"))
    assert scene.http.post(path, data=ONE_CLICK).status_code == 503
    page = scene.http.post(path, data={"action": "unsubscribe"})
    assert page.status_code == 503 and "nothing has changed" in page.text


@pytest.mark.parametrize(
    ("recipient", "masked"),
    [("anna@example.com", "a***@example.com"), ('"a@b"@example.com', '"***@example.com'), ("postmaster", "***")],
)
def test_a_recipient_is_shown_masked(recipient: str, masked: str) -> None:
    assert mask_recipient(recipient) == masked
