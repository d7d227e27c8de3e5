"""Mail whose client hung up before it was sent is not sent: the client's app sends it again.

RFC 5321 §4.1.1.10, RFC 1047.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep

import pytest

from tests.edge.hanging_up import Impatient
from tests.upstream import ScriptedUpstream
from tests.waiting import until
from tests.waypost_server import Waypost, html_mail

_LATE_S = 3.2  # relay.edge.connection: an end that comes so long after the dot is no half-close


@pytest.fixture
def relay(tmp_path: Path, sink: ScriptedUpstream) -> Iterator[Waypost]:
    with Waypost(tmp_path, sink.port, 'connections = 1\n[delivery]\ninline_timeout = "60s"\n') as running:
        yield running


@pytest.fixture
def sink() -> Iterator[ScriptedUpstream]:
    server = ScriptedUpstream()
    yield server
    server.close()


@contextmanager
def busy(relay: Waypost, sink: ScriptedUpstream) -> Iterator[None]:
    """The only connection to the upstream waits for the reply to another mail's dot."""
    sink.is_holding = True
    with Impatient(relay, "first@example.com") as first:
        until(lambda: sink.verbs["DATA"])
        yield
        sink.is_holding = False
        assert first.reply() == 250
    assert relay.send(html_mail(), "last@example.com").startswith("250")
    sink.to("last@example.com")


def _sent(sink: ScriptedUpstream) -> list[str]:
    return [recipient for arrival in sink.arrivals for recipient in arrival.recipients]


def test_a_mail_whose_client_breaks_off_before_it_is_sent_is_not_sent(relay: Waypost, sink: ScriptedUpstream) -> None:
    with busy(relay, sink):
        Impatient(relay, "reset@example.com").reset()
        relay.wait_for_log(" client-hung-up message=")
    assert _sent(sink) == ["first@example.com", "last@example.com"]
    assert not relay.rows("messages", "--query", "reset@example.com")


def test_so_it_is_where_the_client_ends_after_having_waited(relay: Waypost, sink: ScriptedUpstream) -> None:
    with busy(relay, sink):
        client = Impatient(relay, "closed@example.com")
        sleep(_LATE_S)
        client.close()
        relay.wait_for_log(" client-hung-up message=")
    assert _sent(sink) == ["first@example.com", "last@example.com"]


def test_a_client_that_closes_its_half_at_the_dot_may_wait_for_long(relay: Waypost, sink: ScriptedUpstream) -> None:
    with busy(relay, sink):
        client = Impatient(relay, "half@example.com")
        client.close_half()
        sleep(_LATE_S)
    with client:
        assert client.reply() == 250
    assert _sent(sink) == ["first@example.com", "half@example.com", "last@example.com"]


@pytest.mark.parametrize("patience_s", [0.0, _LATE_S])
def test_a_client_that_has_sent_quit_ahead_does_not_break_off(
    patience_s: float, relay: Waypost, sink: ScriptedUpstream
) -> None:
    with busy(relay, sink):
        client = Impatient(relay, "quit@example.com", ahead=b"QUIT\r\n")
        sleep(patience_s)
        client.close() if patience_s else client.reset()
    assert _sent(sink) == ["first@example.com", "quit@example.com", "last@example.com"]


def test_what_has_begun_to_be_sent_is_finished(relay: Waypost, sink: ScriptedUpstream) -> None:
    sink.is_holding = True
    client = Impatient(relay, "begun@example.com")
    until(lambda: sink.verbs["DATA"])
    client.reset()
    sink.is_holding = False
    assert relay.events("delivered", "begun@example.com")
    assert _sent(sink) == ["begun@example.com"]
