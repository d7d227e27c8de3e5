"""The log says why an attempt failed, in our own words: nothing of what a server said, no address."""

from pathlib import Path
from time import monotonic, sleep

import pytest

from relay.reply import Reply
from tests.upstream import Upstream
from tests.waypost_server import Waypost, free_port, html_mail


def _logged(relay: Waypost, *words: str) -> str:
    end = monotonic() + 60
    while True:
        for line in relay.read_log().splitlines():
            if all(word in line for word in words):
                return line
        assert monotonic() < end, relay.read_log()
        sleep(0.02)


def test_an_upstream_that_cannot_be_reached_is_logged_with_the_reason(tmp_path: Path) -> None:
    with Waypost(tmp_path, free_port(), "outages = 1\n") as relay:
        relay.send(html_mail(), "ann@example.com")
        assert "Error connecting to 127.0.0.1" in _logged(relay, " failed ", "phase=connect", "code=0", "reason=")
        assert "Error connecting to 127.0.0.1" in _logged(relay, " upstream-out ", "code=0", "reason=")


def test_a_connection_lost_after_the_dot_is_logged_as_uncertain(tmp_path: Path) -> None:
    upstream = Upstream()
    with Waypost(tmp_path, upstream.port, '[delivery]\ninline_timeout = "1s"\nmode = "queued"\n') as relay:
        upstream.delay_s = 60
        relay.send(html_mail(), "ann@example.com")
        while upstream.verbs["DATA"] == 0:
            sleep(0.02)
        sleep(0.3)
        upstream.stop()
        line = _logged(relay, " failed ", "phase=dot")
        assert 'reason="connection lost after the message was sent; it may have arrived" uncertain=true' in line
    upstream.close()


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(0, "", "timed out"), "timed out"),
        (Reply(0, "", "unexpected reply: 250 hello ann"), "unexpected reply"),
        (Reply(0, "", "not an SMTP reply: SECRET"), "not an SMTP reply"),
        (Reply(0, "", "the upstream is out: auth: 535 no, ann"), "the upstream is out"),
        (Reply(0, "", "lost <ann@example.com> there"), "lost there"),
        (Reply(451, "4.3.0", "later, ann"), ""),
    ],
)
def test_a_reason_quotes_nobody(reply: Reply, words: str) -> None:
    assert reply.reason_without_reply == words
