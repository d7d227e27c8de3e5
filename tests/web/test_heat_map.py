"""Clicks by people, drawn over the mail that has the links.

Always: the mail's HTML stays as it is but for the marks, and whoever looks does not count.
"""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from relay.event_type import EventType
from tests.web.scene import Scene
from web.console import heat_map

PAGE = (
    '<html><body><a href="https://shop.example/a">Picture</a> <a href="https://other.example/">Elsewhere</a>'
    " <a href=\"https://shop.example/a\">Button</a> <a href='https://shop.example/?a=1&amp;b=2'>Both</a></body></html>"
)


def link(number: int, url: str, text: str, decision: str = "tracked", human: int = 0) -> dict[str, Any]:
    found = {"number": number, "url": url, "decision": decision, "reason": "", "text": text}
    return found | {"clicks": {"human": human, "machine": 5, "unknown": 0, "unique": human}}


LINKS = [
    link(1, "https://shop.example/a", "", human=9),  # in the text part
    link(2, "https://shop.example/a", "Picture", human=1),
    link(3, "https://other.example/", "Elsewhere", "skipped"),
    link(4, "https://shop.example/a", "Button", human=4),
    link(5, "https://shop.example/?a=1&b=2", "Both"),
]


def marks(html: str) -> list[tuple[str, str]]:
    return re.findall(r'data-waypost-heat="(\d)"[^>]*><span class="waypost-heat"><b>([^<]*)</b></span>', html)


def test_a_link_has_its_own_clicks_also_where_its_url_is_there_twice() -> None:
    assert marks(heat_map.mark_links(PAGE, LINKS)) == [("1", "2: 1"), ("2", "4: 4"), ("0", "5: 0")]
    assert heat_map.heat_levels([]) == {}


def test_outside_the_marks_the_mail_stays_as_it_is() -> None:
    marked = heat_map.mark_links(PAGE, LINKS)
    bare = re.sub(
        r"<span class=\"waypost-heat\">.*?</span>| data-waypost-heat=\"\d\"|<style>.*</style>", "", marked, flags=re.S
    )
    assert bare == PAGE


@pytest.mark.parametrize(
    "html",
    [
        "<a href=x",
        "<!-- <a href='https://shop.example/a'>",
        '<svg><a href="https://shop.example/a">',
        "",
        "\ud800<a href=>",
    ],
)
def test_any_html_is_shown(html: str) -> None:
    assert isinstance(heat_map.mark_links(html, LINKS), str)


def test_ten_thousand_links_of_one_url_are_paired_in_their_order() -> None:
    page = '<a href="https://shop.example/a">x</a>' * 10_000
    found = marks(
        heat_map.mark_links(page, [link(n, "https://shop.example/a", "x", human=n) for n in range(1, 10_001)])
    )
    assert [text for _, text in found] == [f"{n}: {n}" for n in range(1, heat_map.MAX_MARKED + 1)]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Scene(tmp_path_factory.mktemp("heat")) as running:
        yield running


def test_the_mail_of_a_sandbox_is_shown_with_its_marks_and_nothing_is_counted(
    scene: Scene, browser: httpx.Client
) -> None:
    octets = b"Subject: Hi\r\nContent-Type: text/html\r\n\r\n" + PAGE.encode()
    links = [{name: value for name, value in one.items() if name != "clicks"} for one in LINKS]
    message = scene.file("ann@example.com", "bob@example.com", octets=octets, links=links)
    for number in (0, 1):
        scene.hit(message, EventType.CLICKED, "human", number, url="https://shop.example/a", link=4)
    scene.hit(message, EventType.CLICKED, "human", url="https://shop.example/a", link=2)
    page = browser.get(f"/mailbox/{message}/0?view=clicks").text
    assert "Looking here does not count" in page and "2 recipients" in page
    answer = browser.get(f"/mailbox/{message}/0/html?clicks=yes")
    assert marks(answer.text) == [("2", "2: 1"), ("4", "4: 2"), ("0", "5: 0")]
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox ") and "default-src 'none'" in policy and "script" not in policy
    assert len(scene.events(message)) == 3


def test_mail_without_tracked_links_has_no_such_view(scene: Scene, browser: httpx.Client) -> None:
    message = scene.file(octets=b"Subject: Hi\r\nContent-Type: text/html\r\n\r\n<p>Hello</p>")
    page = browser.get(f"/mailbox/{message}/0?view=clicks").text
    assert "view=clicks" not in page and "iframe" in page
