"""Browsers and mail programs in words that operators know."""

import pytest

from web.console.user_agents import describe_user_agent

WEBKIT = "AppleWebKit/605.1.15 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) {WEBKIT} Version/18.0 Safari/604.1",
            "Safari, iPhone",
        ),
        (
            f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) {WEBKIT} Mobile/15E148",
            "Apple Mail or an app, iPhone",
        ),
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/130.0 Safari/537.36 Edg/130.0", "Edge, Windows"),
        ("Mozilla/5.0 (Linux; Android 15) Gecko/140.0 Firefox/140.0", "Firefox, Android"),
        (
            "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
            "Gmail’s image proxy",
        ),
        ("curl/8.5.0", "curl"),
        ("something of its own/1", ""),
        ("x" * 100_000 + "Firefox/1", ""),
        ("", ""),
    ],
)
def test_a_user_agent_is_named(text: str, words: str) -> None:
    assert describe_user_agent(text) == words
