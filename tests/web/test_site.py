"""The public site as a whole: its hosts, methods and headers, and what it keeps of its visitors."""

import time
from pathlib import Path

import httpx
import pytest

from relay.edits import Kind
from relay.event_type import EventType
from tests import processor_time
from tests.waiting import until
from tests.web.scene import URL, Scene, is_image
from web.middleware import BadTokenLimit


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
    tables: dict[str, dict[str, object]] = {"privacy": privacy, "tracking": {"trusted_proxies": ["127.0.0.1"]}}
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


def test_a_fault_of_ours_shows_an_id_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(kind: Kind, text: str) -> None:
        raise RuntimeError("secret detail")

    with Scene(tmp_path) as scene:
        paths = [scene.path(kind, scene.file()) for kind in (Kind.OPEN, Kind.CLICK, Kind.UNSUBSCRIBE)]
        monkeypatch.setattr(scene.ring, "read_token", broken)
        assert is_image(scene.http.get(paths[0]), "gif")
        for path in paths[1:]:
            answer = scene.http.get(path)
            assert answer.status_code == 500
            assert "secret" not in answer.text and "went wrong" in answer.text
            assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "", "links.example.com.evil.example", "[::"]
)
def test_a_host_that_is_not_ours_gets_nothing_but_health(scene: Scene, host: str) -> None:
    message = scene.file()
    for kind in Kind:
        answer = scene.http.get(scene.path(kind, message), headers={"host": host})
        assert answer.status_code == 404 and "location" not in answer.headers
    for path in ("/healthz", "/readyz"):
        assert scene.http.get(path, headers={"host": host}).status_code == 200
    assert not scene.events(message)


def test_links_answer_under_the_public_host_its_aliases_and_this_machine_s_names(tmp_path: Path) -> None:
    given = {"tracking": {"public_url": "https://links.example.com", "aliases": ["old.example.com"]}}
    with Scene(tmp_path, given) as scene:
        path = scene.path(Kind.CLICK, scene.file()).removeprefix("https://links.example.com")
        for host in ("links.example.com", "LINKS.example.com:443", "old.example.com.", "localhost:1", "[::1]:8080"):
            assert scene.http.get(path, headers={"host": host}).status_code == 302, host
        assert scene.http.get(path, headers={"host": "www.links.example.com"}).status_code == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "POST", "TRACE"])
def test_other_methods_are_told_which_are_allowed(scene: Scene, method: str) -> None:
    message = scene.file()
    for kind in (Kind.OPEN, Kind.CLICK, Kind.UNSUBSCRIBE):
        if method == "POST" and kind is Kind.UNSUBSCRIBE:
            continue
        answer = scene.http.request(method, scene.path(kind, message))
        assert answer.status_code == 405
        allowed = {"GET", "HEAD"} | ({"POST"} if kind is Kind.UNSUBSCRIBE else set())
        assert set(answer.headers["allow"].split(", ")) == allowed
    assert not scene.events(message)


@pytest.mark.parametrize(
    "glued",
    ["'", ")", "*", ">", ".", ",", ").", "%3E", "%22", ");", "?utm_source=x", "&fbclid=x", "/", "%20", "。", "”"],
)
def test_what_mail_programs_glue_to_a_url_does_no_harm(scene: Scene, glued: str) -> None:
    message = scene.file()
    assert is_image(scene.http.get(scene.path(Kind.OPEN, message) + glued), "gif")
    assert scene.http.get(scene.path(Kind.CLICK, message) + glued).headers["location"] == URL.decode()
    assert scene.http.get(scene.path(Kind.UNSUBSCRIBE, message) + glued).status_code == 200
    until(lambda: len(scene.events(message)) == 2)


def test_very_many_bad_tokens_of_a_network_are_turned_away_and_good_ones_never(tmp_path: Path) -> None:
    with Scene(tmp_path, {"tracking": {"trusted_proxies": ["127.0.0.1"]}}) as scene:
        message = scene.file()

        def ask(path: str, address: str) -> httpx.Response:
            return scene.http.get(path, headers={"x-forwarded-for": address})

        found: list[httpx.Response] = []
        while len(found) < 5000:  # the slower the machine, the more are allowed meanwhile
            found.append(ask(f"/c/{len(found):040}", f"198.51.100.{len(found) % 250}"))
            if found[-1].status_code == 429:
                break
        assert [one.status_code for one in found[:300]] == [404] * 300
        assert found[-1].status_code == 429 and found[-1].headers["retry-after"] == "60"
        assert is_image(ask("/o/x.gif", "198.51.100.1"), "gif")
        for path, status in ((Kind.CLICK, 302), (Kind.UNSUBSCRIBE, 200), (Kind.OPEN, 200)):
            assert ask(scene.path(path, message), "198.51.100.1").status_code == status
        assert ask("/c/x", "203.0.113.1").status_code == 404


def test_the_memory_of_bad_tokens_is_bounded() -> None:
    tries = BadTokenLimit(burst=2, refill_s=10.0, networks=3)
    assert [tries.allow("10.0.0.1", 0.0) for _ in range(3)] == [True, True, False]
    assert tries.allow("10.0.0.1", 11.0)
    assert all(tries.allow(f"10.0.{n}.1", 11.0) for n in range(1, 100))
    assert len(tries._free_at) == 3


def test_a_field_of_blanks_holds_nobody_up(scene: Scene) -> None:
    # Bounded by the processor's time, of which the server in this process takes its share.
    for field in ("a" + " " * 15_000 + "!", "a;" + " " * 15_000 + "!", "a-a," * 3_750):
        with processor_time.at_most(2, of_process=True):
            assert scene.http.get("/c/x", headers={"accept-language": field}).status_code == 404
