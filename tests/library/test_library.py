"""The library for programs that send by themselves: their links, their metadata, their routes.

Always: what is not minted here is nothing here; outside href and pixel every octet is the program's; the redirect does
not depend on the program.
"""

import asyncio
import base64
import re
import secrets
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.routing import Mount

from relay import ids, tokens, tracking
from relay.edits import Hole, Kind
from relay.tracking import Event, Tracker
from tests.user_agents import PHONE
from tests.waypost_server import ROOT
from web.tracking import routes

SECRET, OTHER = "a secret of thirty-two characters", "another secret, long enough as well"
BASE = "https://app.example/t"
URLS = re.compile(r"https://app\.example/t/[oc]/[A-Za-z0-9_.-]+")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


def ask(app: Any, *urls: str, method: str = "GET", agent: str = PHONE) -> list[httpx.Response]:  # Any: ASGI
    async def run() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app, client=("203.0.113.77", 5000))
        async with httpx.AsyncClient(transport=transport, headers={"user-agent": agent}) as client:
            return [await client.request(method, url) for url in urls]

    return asyncio.run(run())


def test_the_first_example_of_the_documentation_runs_as_it_is_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYPOST_TRACKING_URL", BASE)
    monkeypatch.setenv("WAYPOST_TRACKING_SECRET", f"{SECRET.replace(' ', '-')} {OTHER.replace(' ', '-')}")
    [example] = re.findall(
        r"```python\n(from starlette.*?)```", (ROOT / "docs/library.md").read_text("utf-8"), re.DOTALL
    )
    space: dict[str, Any] = {}
    exec(compile(example, "docs/library.md", "exec"), space)
    [click, pixel] = URLS.findall(space["html"])
    [redirect, image] = ask(space["app"], click, pixel)
    assert (redirect.status_code, redirect.headers["location"]) == (302, "https://shop.example/1047")
    assert (image.status_code, image.headers["content-type"]) == (200, "image/png")
    told = capsys.readouterr().out.splitlines()
    assert told == [
        "click human https://shop.example/1047 {'order': 1047}",
        "open human  {'order': 1047}",
    ]


def test_without_a_tracker_the_environment_or_the_configuration_gives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="WAYPOST_TRACKING_SECRET"):
        routes(on_event=print)
    assert not list(tmp_path.iterdir())
    (tmp_path / "config.toml").write_text(
        '[relay]\ndata_dir = "data"\n[tracking]\npublic_url = "https://app.example/t"\n'
    )
    seen: list[Event] = []
    app = Starlette(routes=[Mount("/t", routes=routes(on_event=seen.append))])
    click = tracking.tracker_from_environment().click_url("https://shop.example/", {"n": 1})
    tokens.rotate_keys(tmp_path / "data/keys.json")
    assert tracking.tracker_from_environment().read(click) == tracking.TrackedUrl(
        "click", "https://shop.example/", {"n": 1}
    )
    [redirect] = ask(app, click)
    assert (redirect.status_code, redirect.headers["location"]) == (302, "https://shop.example/")
    assert [(event.kind, event.metadata) for event in seen] == [("click", {"n": 1})]
    monkeypatch.setenv("WAYPOST_TRACKING_SECRET", "a-secret-of-this-environment-alone")
    with pytest.raises(tokens.InvalidTokenError):
        tracking.tracker_from_environment().read(click)
    (tmp_path / "config.toml").write_text("[relay]\nnonsense = 1\n")
    with pytest.raises(ValueError, match="nonsense"):
        routes(on_event=print)


@given(JSON, st.sampled_from(["https://shop.example/ü?q=€#x", "http://a.example", "HTTPS://b.example/%zz?a=1&b={2}"]))
def test_what_is_minted_reads_back_and_nothing_of_it_is_in_clear(value: object, url: str) -> None:
    tracker = Tracker(BASE, SECRET, {"app": "shop"})
    metadata = {"who": "ann@example.com", "value": value}
    click, pixel = tracker.click_url(url, metadata), tracker.open_url(metadata)
    assert tracker.read(click) == ("click", url, {"app": "shop"} | metadata)
    assert tracker.read(pixel) == ("open", "", {"app": "shop"} | metadata)
    assert tracker.click_url(url, metadata) == click  # the same on every retry
    assert not re.search(r"[&\"'<>= ]", click)
    for token in (click, pixel):
        octets = base64.urlsafe_b64decode(token.rpartition("/")[2].partition(".")[0] + "==")
        assert b"ann" not in octets and b"shop" not in octets


def test_what_was_not_minted_here_is_nothing_here(tmp_path: Path) -> None:
    tracker = Tracker(BASE, SECRET)
    click = tracker.click_url("https://shop.example/").rpartition("/")[2]
    pixel = tracker.open_url(suffix="gif").rpartition("/")[2].removesuffix(".gif")
    ring = tokens.open_key_ring(tmp_path / "keys.json")
    relays = ring.mint(Hole(Kind.CLICK, 1, b"https://evil.example/"), ids.new(), 0)
    strangers = Tracker(BASE, OTHER).click_url("https://evil.example/").rpartition("/")[2]
    changed = [click[:n] + ("A" if click[n] != "A" else "B") + click[n + 1 :] for n in range(len(click))]
    app = Starlette(routes=routes(tracker, lambda event: pytest.fail("counted")))
    bad = [*changed, relays, strangers, pixel, click + "A", click[:-1], "x", "%00", ""]
    for answer in ask(app, *(f"http://h/c/{token}" for token in bad)):
        assert answer.status_code == 404 and "location" not in answer.headers
    for answer in ask(app, *(f"http://h/o/{token}.png" for token in [click, *bad[:5]])):
        assert answer.status_code == 200 and answer.content[:4] == b"\x89PNG"
    for token in (click, pixel):  # and none of ours is a relay's
        for kind in Kind:
            with pytest.raises(tokens.InvalidTokenError):
                ring.read_token(kind, token)


def test_old_secrets_go_on_reading() -> None:
    old = Tracker(BASE, OTHER).click_url("https://shop.example/", {"n": 1})
    both = Tracker(BASE, [SECRET, OTHER])
    assert both.read(old).metadata == {"n": 1}
    assert both.click_url("https://shop.example/") == Tracker(BASE, SECRET).click_url("https://shop.example/")


@pytest.mark.parametrize("kind", [str, bytes])
def test_html_is_the_programs_outside_of_links_and_pixel(kind: type) -> None:
    html = (
        "<!doctype html><HTML><body bgcolor=white>\r\n<p>Grüße <a class=x href='https://shop.example/a?b=1&amp;c=2'>one</a>"
        '<a href="https://shop.example/b" data-no-track>two</a><a href="mailto:a@b.example">three</a>'
        '<a href="https://partner.example/">four</a><a href="https://x.example/">x.example</a>'
        '<!--[if mso]><v:rect href="https://shop.example/v"/><![endif]--></body></HTML>\n<!-- end -->'
    )
    tracker = Tracker(BASE, SECRET)

    def instrument(metadata: dict[str, int] | None = None, **options: Any) -> str | bytes:
        if kind is str:
            return tracker.instrument_html(html, metadata, **options)
        return tracker.instrument_html(html.encode(), metadata, **options)

    made = instrument({"n": 1}, exclude=["partner.example"])
    assert isinstance(made, kind)
    text = made if isinstance(made, str) else made.decode()
    found = URLS.findall(text)
    assert [tracker.read(url)[:2] for url in found] == [
        ("click", "https://shop.example/a?b=1&c=2"),
        ("click", "https://shop.example/v"),
        ("open", ""),
    ]
    back = text.replace(found[0], "https://shop.example/a?b=1&amp;c=2").replace(found[1], "https://shop.example/v")
    assert re.sub(r"<img [^>]*>", "", back) == html
    assert text.index("<img") == text.index("</body>") - len(re.findall(r"<img [^>]*>", text)[0])
    again = tracker.instrument_html(text, {"n": 1}, exclude=["partner.example"])
    assert again == text  # a second time changes nothing
    unchanged = instrument(opens=False, clicks=False)
    assert unchanged == (html if kind is str else html.encode())


@given(
    st.text(max_size=200) | st.sampled_from(["<svg><a href=http://x.example>", "<select><a href='http://x.example'>"])
)
def test_any_html_comes_back_readable(html: str) -> None:
    made = Tracker(BASE, SECRET).instrument_html(html, clicks=True)
    assert re.sub(r'<img src="https://app\.example/t/o/[^>]*>', "", made) == html or "href" in html


def test_an_event_says_what_happened_and_a_head_request_is_none() -> None:
    seen: list[Event] = []
    tracker = Tracker(BASE, SECRET, {"app": "shop", "n": 0})
    app = Starlette(routes=[Mount("/t", routes=routes(tracker, seen.append, trusted_proxies=["198.51.100.0/24"]))])
    click, pixel = tracker.click_url("https://shop.example/ü", {"n": 1}), tracker.open_url()
    ask(app, click, pixel, method="HEAD")
    assert not seen
    [redirect, image] = ask(app, click, pixel)
    assert redirect.headers["location"] == "https://shop.example/%C3%BC"
    assert redirect.headers["cache-control"] == image.headers["cache-control"].split(",")[0] == "no-store"
    assert redirect.headers["referrer-policy"] == "no-referrer"
    ask(app, click, agent="Mozilla/5.0 (compatible; Barracuda Sentinel)")
    assert [(event.kind, event.verdict, event.metadata["n"], event.ip) for event in seen] == [
        ("click", "human", 1, "203.0.113.0"),
        ("open", "human", 0, "203.0.113.0"),
        ("click", "machine", 1, "203.0.113.0"),
    ]
    assert (seen[0].url, seen[0].user_agent, seen[2].reasons) == (
        "https://shop.example/ü", PHONE, ("scanner:barracuda",),
    )  # fmt: skip
    assert seen[0].at.tzinfo is not None


def test_a_program_that_fails_costs_nobody_the_redirect() -> None:
    async def fails(event: Event) -> None:
        raise RuntimeError("my database is away")

    def fails_at_once(event: Event) -> None:
        raise KeyError(event.metadata["none"])

    tracker = Tracker(BASE, SECRET)
    for on_event in (fails, fails_at_once):
        app = Starlette(routes=[Mount("/t", routes=routes(tracker, on_event, ip="none"))])
        [redirect, image] = ask(app, tracker.click_url("https://shop.example/"), tracker.open_url())
        assert (redirect.status_code, image.status_code) == (302, 200)


def test_what_cannot_work_is_reported_at_once() -> None:
    tracker = Tracker(BASE, SECRET)
    for wrong in (
        lambda: Tracker(BASE, "short"),
        lambda: Tracker(BASE, []),
        lambda: Tracker("app.example", SECRET),
        lambda: Tracker("https://app.example/?a=b", SECRET),
        lambda: tracker.click_url("javascript:alert(1)"),
        lambda: tracker.click_url("https://shop.example/\r\nX: y"),
        lambda: tracker.click_url("https://"),
        lambda: tracker.open_url({"at": object()}),
        lambda: tracker.open_url({"long": secrets.token_hex(2000)}),
        lambda: routes(tracker, print, trusted_proxies=["nowhere"]),
    ):
        with pytest.raises(ValueError):
            wrong()
