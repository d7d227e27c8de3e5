"""The log says why an attempt failed, in our own words: nothing of what a server said, no address."""

from pathlib import Path

import pytest

from relay.reply import Reply
from tests.upstream import ScriptedUpstream
from tests.waiting import until
from tests.waypost_server import Waypost, free_port, html_mail


def test_an_upstream_that_cannot_be_reached_is_logged_with_the_reason(tmp_path: Path) -> None:
    with Waypost(tmp_path, free_port(), "outages = 1\n") as relay:
        relay.send(html_mail(), "ann@example.com")
        reason = "Error connecting to 127.0.0.1"
        assert reason in relay.wait_for_log(" failed ", "phase=connect", "code=0", "reason=")[0]
        assert reason in relay.wait_for_log(" upstream-out ", "code=0", "reason=")[0]


def test_a_connection_lost_after_the_dot_is_logged_as_uncertain(tmp_path: Path) -> None:
    upstream = ScriptedUpstream()
    with Waypost(tmp_path, upstream.port, '[delivery]\ninline_timeout = "1s"\nmode = "queued"\n') as relay:
        upstream.delay_s = 60
        relay.send(html_mail(), "ann@example.com")
        until(lambda: upstream.verbs["."])
        upstream.stop()
        line = relay.wait_for_log(" failed ", "phase=dot")[0]
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
