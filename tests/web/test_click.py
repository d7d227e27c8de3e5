"""The click.  Always: a redirect leads to what was signed, octet for octet, or there is none."""

import pytest

from relay.edits import Kind
from tests.waiting import until
from tests.web.scene import URL, Scene


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
    tokens += [click + "A", click[:-1], "x", "%00", "%F0%9F%92%A9", "..%2f", "a/b"]
    for token in tokens:
        for path in (f"/c/{token}", f"/c/{token}?url=https://evil.example/"):
            answer = scene.http.get(path)
            assert answer.status_code == 404, path
            assert "location" not in answer.headers
    assert not scene.events(message)
