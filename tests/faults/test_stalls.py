"""An upstream whose open connections hang while it answers new ones: mail goes on, and nothing goes twice."""

from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.faults import IS_LONG
from tests.faults.figures import Figure
from tests.faults.load import Load
from tests.upstream import ScriptedUpstream
from tests.waiting import until
from tests.waypost_server import Waypost, html_mail

_CONNECTIONS = 20 if IS_LONG else 4
_MAILS = 200 if IS_LONG else 30
_STALL_S = 10 if IS_LONG else 1
_KEYS = f'connections = {_CONNECTIONS}\nstall_timeout = "{_STALL_S}s"\n'
_DELIVERY = '[delivery]\nmode = "queued"\nretry = ["1s"]\n'


@pytest.fixture
def second() -> Iterator[ScriptedUpstream]:
    server = ScriptedUpstream()
    yield server
    server.close()


def _send_all(relay: Waypost) -> None:
    for number in range(_MAILS):
        assert relay.send(html_mail(), f"to-{number}@example.com").startswith("250")


def test_mail_flows_soon_after_new_connections_are_answered(
    tmp_path: Path, sink: ScriptedUpstream, figure: Figure
) -> None:
    with Waypost(tmp_path, sink.port, _KEYS + _DELIVERY) as relay:
        sink.delay_s = 3600.0
        _send_all(relay)
        relay.wait_for_log(f'upstream-out upstream=scripted phase=dot code=0 status="" reason="mute for {_STALL_S} s"')
        sink.delay_s = 0.0
        well = monotonic()
        until(
            lambda: len(sink.arrivals) + _hung(sink) >= _MAILS,
            lambda: (len(sink.arrivals), _hung(sink), relay.read_log()),
        )
        took_s = monotonic() - well
        sleep(1)
        assert len(sink.arrivals) + _hung(sink) == _MAILS and _sent_twice(sink) == 0
        assert _hung(sink) <= _CONNECTIONS + 3  # one mail was the trial of each probe
        relay.wait_for_log("upstream-back")
        figure(
            f"{_CONNECTIONS} connections hang: {len(sink.arrivals)} of {_MAILS} sent {took_s:.1f} s after it was well"
        )
        sink.stop()  # what hangs is lost, and drains


def _sent_twice(sink: ScriptedUpstream) -> int:
    return len(sink.arrivals) - len({arrival.recipients[0] for arrival in sink.arrivals})


def _hung(sink: ScriptedUpstream) -> int:
    return sink.verbs["DATA"] - len(sink.arrivals) - len(sink.turned_away)


def test_the_next_upstream_takes_what_was_not_yet_sent(
    tmp_path: Path, sink: ScriptedUpstream, second: ScriptedUpstream, figure: Figure
) -> None:
    other = f'[[upstream]]\nname = "second"\naddress = "127.0.0.1:{second.port}"\ntls = "off"\n'
    with Waypost(tmp_path, sink.port, _KEYS + other + _DELIVERY) as relay:
        sink.delay_s = 3600.0
        _send_all(relay)
        relay.wait_for_log("upstream-out upstream=scripted")
        until(
            lambda: len(second.arrivals) + _hung(sink) >= _MAILS,
            lambda: (len(second.arrivals), _hung(sink), relay.read_log()),
        )
        sleep(1)
        assert len(second.arrivals) + _hung(sink) == _MAILS and _sent_twice(second) == 0
        figure(f"{_CONNECTIONS} connections hang: the second upstream sent {len(second.arrivals)} of {_MAILS}")
        sink.stop()


def test_an_upstream_that_is_slow_but_moves_is_not_out(tmp_path: Path, sink: ScriptedUpstream) -> None:
    with Waypost(tmp_path, sink.port, _KEYS + _DELIVERY) as relay:
        sink.delay_s = 0.3
        with Load(relay.port, threads=4) as load:
            load.wait_for(40)
        assert "upstream-out" not in relay.read_log()
