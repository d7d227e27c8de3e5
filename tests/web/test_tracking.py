"""The pixel and the click, as mail programs, people and scanners call them.

Always: a pixel is an image; a redirect leads to what was signed or there is none; HEAD counts nothing.
"""

import asyncio
import io
import sqlite3
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from relay import ids
from relay.edits import Hole, Kind
from relay.store import engine, events, store
from relay.store.tables import EventType
from tests.web.scene import URL, Scene, until
from web.tracking import GIF, PNG


def is_image(answer: httpx.Response, kind: str) -> bool:
    assert answer.status_code == 200
    assert answer.headers["content-type"] == f"image/{kind}"
    assert answer.headers["cache-control"] == "no-store, no-cache, must-revalidate, private, max-age=0"
    assert answer.headers["pragma"] == "no-cache"
    assert answer.headers["expires"] == "0"
    assert "set-cookie" not in answer.headers
    assert int(answer.headers["content-length"]) == len(GIF if kind == "gif" else PNG)
    return answer.content == (GIF if kind == "gif" else PNG)


def test_the_png_is_one_transparent_pixel() -> None:
    file = io.BytesIO(PNG)
    assert file.read(8) == b"\x89PNG\r\n\x1a\n"
    chunks = {}
    while header := file.read(8):
        length, name = struct.unpack(">I4s", header)
        chunks[name] = file.read(length)
        assert struct.unpack(">I", file.read(4)) == (zlib.crc32(name + chunks[name]),)
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    assert struct.unpack(">IIBB", chunks[b"IHDR"][:10]) == (1, 1, 8, 6)
    assert zlib.decompress(chunks[b"IDAT"]) == bytes(5)  # a filter octet, then RGBA with alpha 0


def test_the_gif_is_one_transparent_pixel() -> None:
    assert GIF[:6] == b"GIF89a"
    assert struct.unpack("<HH", GIF[6:10]) == (1, 1)
    at = 13 + 3 * 2  # the screen descriptor, then a table of two colours
    assert GIF[at : at + 4] == b"!\xf9\x04\x01"  # a graphic control extension whose transparency flag is set
    assert GIF[at + 6] == 0  # colour 0 is the transparent one, and the picture's only pixel
    assert GIF[-1:] == b";"


@pytest.mark.parametrize("suffix", ["gif", "png"])
def test_an_open_counts_once_for_each_request_and_is_an_image(scene: Scene, suffix: str) -> None:
    message = scene.file()
    path = scene.path(Kind.OPEN, message).removesuffix("gif") + suffix
    assert is_image(scene.http.get(path), suffix)
    until(lambda: scene.events(message))
    (event,) = scene.events(message)
    assert (event["type"], event["verdict"], event["recipient"]) == ("opened", "human", "you@example.com")
    assert event["user_agent"] == "Mozilla/5.0 (X11) Firefox/140"
    assert event["ip"] == "127.0.0.0"
    assert scene.delivery(message)["opens_human"] == 1


def test_whatever_stands_in_the_path_the_answer_is_an_image_and_counts_nothing(scene: Scene) -> None:
    message = scene.file()
    token = scene.path(Kind.OPEN, message).removeprefix("/o/").removesuffix(".gif")
    click = scene.path(Kind.CLICK, message).removeprefix("/c/")
    changed = token[:-3] + ("A" if token[-3] != "A" else "B") + token[-2:]
    for name in ("x", "x.gif", f"{token}.jpg", token, f"{changed}.gif", f"{click}.gif", "%FF%00.gif", "a/b/c.gif", ""):
        assert is_image(scene.http.get(f"/o/{name}"), "gif"), name
    assert is_image(scene.http.get("/o/x.png"), "png")
    assert is_image(scene.http.get(f"/o/{token}.gif"), "gif")  # and the good one, which comes last, is the only one
    until(lambda: scene.events(message))
    assert scene.delivery(message)["opens_human"] == 1


def test_head_answers_like_get_and_counts_nothing(scene: Scene) -> None:
    message = scene.file()
    for kind in Kind:
        path = scene.path(kind, message)
        head, get = scene.http.head(path), scene.http.get(path)
        same = set(get.headers.items()) ^ set(head.headers.items())
        assert {name for name, _ in same} <= {"date"}
        assert (head.status_code, head.content) == (get.status_code, b"")
    until(lambda: len(scene.events(message)) == 2)
    time.sleep(0.05)
    assert [event["type"] for event in scene.events(message)] == ["opened", "clicked"]


@pytest.mark.parametrize(
    "url",
    [
        URL,
        b"http://shop.example",
        b"HTTPS://Shop.Example:443/a/../b//c/./d?",
        b"https://shop.example/%7euser/%e2%82%AC?q=%zz&r=%25#frag%20ment",
        b"https://shop.example/?a={x}|[y]^`\"'<>\\&&;==",
        b"https://shop.example/a b",
        "https://shop.example/ü?q=€".encode(),
        b"https://shop.example/\xfc",
        b"https://user:pass@shop.example/?next=https://other.example/",
        b"https://shop.example/?" + b"q=0123456789&" * 200,
    ],
)
def test_a_click_leads_to_the_exact_octets_that_were_signed(scene: Scene, url: bytes) -> None:
    message = scene.file()
    answer = scene.http.get(scene.path(Kind.CLICK, message, url=url))
    assert answer.status_code == 302
    assert [value for name, value in answer.headers.raw if name.lower() == b"location"] == [url]
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-robots-tag"] == "noindex"
    assert "set-cookie" not in answer.headers
    until(lambda: scene.events(message))
    assert scene.events(message)[0]["url"] == url.decode("utf-8", "replace")
    assert scene.delivery(message)["clicks_human"] == 1


@pytest.mark.parametrize(
    "url",
    [
        b"javascript:alert(1)",
        b"data:text/html,x",
        b"//evil.example/",
        b"/local",
        b"",
        b" https://evil.example/",
        b"ftp://evil.example/",
        b"https://shop.example/\r\nSet-Cookie: a=b",
        b"https://shop.example/\x00",
    ],
)
def test_what_is_no_web_address_is_refused_even_if_it_is_signed(scene: Scene, url: bytes) -> None:
    answer = scene.http.get(scene.path(Kind.CLICK, scene.file(), url=url))
    assert answer.status_code == 404
    assert "location" not in answer.headers
    assert "nothing here" in answer.text


def test_a_token_that_is_not_ours_is_never_a_redirect(scene: Scene) -> None:
    message = scene.file()
    click = scene.path(Kind.CLICK, message).removeprefix("/c/")
    tokens = [click[:n] + ("A" if click[n] != "A" else "B") + click[n + 1 :] for n in range(0, len(click), 7)]
    tokens += [scene.path(kind, message)[3:].removesuffix(".gif") for kind in (Kind.OPEN, Kind.UNSUBSCRIBE)]
    tokens += [click + "A", click[:-1], click + "=", "x", "%00", "%F0%9F%92%A9", "..%2f", click + "/", "a/b"]
    for token in tokens:
        for path in (f"/c/{token}", f"/c/{token}?url=https://evil.example/"):
            answer = scene.http.get(path)
            assert answer.status_code == 404, path
            assert "location" not in answer.headers
    assert not scene.events(message)


def test_other_paths_get_a_small_page_that_nothing_can_be_done_with(scene: Scene) -> None:
    for path in ("/", "/c/", "/u/", "/admin", "/healthz/", "/o", "/static/console.css"):
        answer = scene.http.get(path)
        assert answer.status_code == 404, path
        policy = answer.headers["content-security-policy"]
        for rule in ("default-src 'none'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"):
            assert rule in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "<script" not in answer.text
    assert scene.http.post("/c/x").status_code == 405


def test_health_readiness_and_robots(scene: Scene) -> None:
    assert scene.http.get("/healthz").text == "ok\n"
    assert scene.http.get("/readyz").status_code == 200
    assert scene.http.get("/robots.txt").text == "User-agent: *\nDisallow: /\n"


def test_a_recipient_who_asked_for_it_leaves_no_hits(scene: Scene) -> None:
    message = scene.file("quiet@example.com")
    asked = scene.http.post(scene.path(Kind.UNSUBSCRIBE, message), data={"action": "dont-track"})
    assert asked.status_code == 200
    older = scene.file("Quiet@example.com")
    for one in (message, older):
        assert is_image(scene.http.get(scene.path(Kind.OPEN, one)), "gif")
        assert scene.http.get(scene.path(Kind.CLICK, one)).status_code == 302
    time.sleep(0.1)
    assert not scene.events(message) and not scene.events(older)


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Scene, sqlite3.Connection]]:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_S", 0.4)
    with Scene(tmp_path) as scene:
        lock = sqlite3.connect(tmp_path / "waypost.db", isolation_level=None)
        yield scene, lock
        lock.close()


def test_with_the_database_locked_answers_come_at_once_and_the_events_wait_in_the_journal(
    locked: tuple[Scene, sqlite3.Connection],
) -> None:
    scene, lock = locked
    message = scene.file()
    lock.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    for _ in range(10):
        assert is_image(scene.http.get(scene.path(Kind.OPEN, message)), "gif")
        assert scene.http.get(scene.path(Kind.CLICK, message)).status_code == 302
    assert time.monotonic() - began < 0.4
    assert scene.http.get(scene.path(Kind.UNSUBSCRIBE, message)).status_code == 200
    assert scene.http.post(scene.path(Kind.UNSUBSCRIBE, message), data={"action": "unsubscribe"}).status_code == 200
    until(lambda: sum(len(path.read_bytes().splitlines()) for path in (scene.folder / "journal").iterdir()) == 21)
    lock.execute("ROLLBACK")
    assert not scene.events(message)
    asyncio.run(scene.store.replay())
    asyncio.run(scene.store.replay())
    assert (scene.delivery(message)["opens_human"], scene.delivery(message)["clicks_human"]) == (10, 10)
    assert scene.delivery(message)["unsubscribed_at"] is not None


def test_with_the_database_gone_answers_come_all_the_same(tmp_path: Path) -> None:
    with Scene(tmp_path) as scene:
        message = scene.file()
        scene.store._reading.dispose()
        scene.store.writer._disconnect()
        (tmp_path / "waypost.db").write_bytes(b"this is no database" * 1000)
        for name in ("waypost.db-wal", "waypost.db-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        assert is_image(scene.http.get(scene.path(Kind.OPEN, message)), "gif")
        assert scene.http.get(scene.path(Kind.CLICK, message)).status_code == 302
        page = scene.http.get(scene.path(Kind.UNSUBSCRIBE, message))
        assert page.status_code == 200 and "Unsubscribe" in page.text
        assert scene.http.get("/readyz").status_code == 503
        assert scene.http.get("/healthz").status_code == 200
        until(lambda: sum(len(path.read_bytes().splitlines()) for path in (tmp_path / "journal").iterdir()) == 2)


def test_a_hit_of_a_message_that_is_not_written_down_yet_waits_in_the_journal(tmp_path: Path) -> None:
    with Scene(tmp_path) as scene:
        early = ids.new()
        assert is_image(scene.http.get(scene.path(Kind.OPEN, early)), "gif")
        until(lambda: scene.store.journal.waits)
        scene.file(id=early)
        asyncio.run(scene.store.replay())
        assert scene.delivery(early)["opens_human"] == 1


def test_stopping_waits_for_the_hits_that_are_on_their_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(session: sa.Connection, hit: events.Hit) -> None:
        time.sleep(0.2)
        events.record(session, hit)

    with Scene(tmp_path) as scene:
        message = scene.file()
        monkeypatch.setitem(store.FACTS, "hit", store.FACTS["hit"]._replace(apply=slowly))
        scene.http.get(scene.path(Kind.OPEN, message))
        scene.stop()
        assert scene.delivery(message)["opens_human"] == 1


@pytest.mark.parametrize(
    ("privacy", "ip"),
    [
        ({"ip": "full"}, "203.0.113.77"),
        ({"ip": "truncated"}, "203.0.113.0"),
        ({"ip": "none"}, ""),
        ({"ip": "full", "mode": "pseudonymous"}, ""),
        ({"mode": "off"}, None),
    ],
)
def test_the_address_is_kept_as_far_as_privacy_allows(
    tmp_path: Path, privacy: dict[str, object], ip: str | None
) -> None:
    tables = {"privacy": privacy, "tracking": {"trusted_proxies": ["127.0.0.1"]}}
    with Scene(tmp_path, tables) as scene:
        message = scene.file()
        scene.http.get(scene.path(Kind.OPEN, message), headers={"x-forwarded-for": "10.9.9.9, 203.0.113.77"})
        assert scene.http.get(scene.path(Kind.CLICK, message)).status_code == 302
        until(lambda: ip is None or len(scene.events(message)) == 2)
        if ip is None:
            time.sleep(0.1)
            assert not scene.events(message)
        else:
            assert scene.events(message, EventType.OPENED)[0]["ip"] == ip


def test_nobody_s_word_on_addresses_is_believed_by_default(scene: Scene) -> None:
    message = scene.file()
    scene.http.get(scene.path(Kind.OPEN, message), headers={"x-forwarded-for": "203.0.113.77"})
    until(lambda: scene.events(message))
    assert scene.events(message)[0]["ip"] == "127.0.0.0"


def test_a_path_in_the_public_url_may_be_passed_on_or_stripped(tmp_path: Path) -> None:
    with Scene(tmp_path, path="/mail/x") as scene:
        message = scene.file()
        for prefix in ("", "/mail/x"):
            assert is_image(scene.http.get(prefix + scene.path(Kind.OPEN, message)), "gif")
            assert scene.http.get(prefix + scene.path(Kind.CLICK, message)).headers["location"] == URL.decode()
            assert scene.http.get(prefix + scene.path(Kind.UNSUBSCRIBE, message)).status_code == 200
            assert scene.http.get(f"{prefix}/healthz").status_code == 200
        assert scene.http.get("/mail/x/c/" + "x" * 40 + "/").status_code == 404
        until(lambda: len(scene.events(message)) == 4)


def test_a_long_user_agent_is_cut(scene: Scene) -> None:
    message = scene.file()
    scene.http.get(scene.path(Kind.OPEN, message), headers={"user-agent": "Mozilla/5.0 (X11) " + "x" * 4000})
    until(lambda: scene.events(message))
    assert len(scene.events(message)[0]["user_agent"]) == 512


def test_a_fault_of_ours_shows_an_id_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(kind: Kind, text: str) -> None:
        raise RuntimeError("secret detail")

    with Scene(tmp_path) as scene:
        paths = [scene.path(kind, scene.file()) for kind in (Kind.OPEN, Kind.CLICK, Kind.UNSUBSCRIBE)]
        monkeypatch.setattr(scene.ring, "read", broken)
        assert is_image(scene.http.get(paths[0]), "gif")
        for path in paths[1:]:
            answer = scene.http.get(path)
            assert answer.status_code == 500
            assert "secret" not in answer.text and "went wrong" in answer.text
            assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_stored_hole_of_another_recipient_is_another_count(scene: Scene) -> None:
    message = scene.file("a@example.com", "b@example.com")
    assert scene.ring.mint(Hole(Kind.OPEN), message, 0) != scene.ring.mint(Hole(Kind.OPEN), message, 1)
    scene.http.get(scene.path(Kind.OPEN, message, 1))
    until(lambda: scene.events(message))
    assert [scene.delivery(message, number)["opens_human"] for number in (0, 1)] == [0, 1]
