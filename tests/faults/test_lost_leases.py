"""A process that stood still for longer than its lease looks before it sends: another one may have its mail."""

import os
import signal
from pathlib import Path
from time import sleep

import pytest
import sqlalchemy as sa

from tests.faults import IS_LONG
from tests.faults.figures import Figure
from tests.faults.queued_mail import drained
from tests.upstream import ScriptedUpstream
from tests.waiting import until
from tests.waypost_server import Waypost, html_mail

_QUEUED = '[delivery]\nmode = "queued"\nretry = ["1s"]\n'


def _wait_until_leased(relay: Waypost, count: int) -> None:
    until(
        lambda: relay.sql("SELECT count(*) FROM delivery WHERE leased_by != ''"), fits=lambda rows: rows[0][0] >= count
    )


def _suspend_while(relay: Waypost, process: int, statement: str) -> bool:
    """Suspends the process and runs the statement. False if the process stood still within a commit, and goes on."""
    os.kill(process, signal.SIGSTOP)
    try:
        relay.sql(statement)
    except sa.exc.OperationalError:
        os.kill(process, signal.SIGCONT)
        return False
    return True


def test_what_another_worker_took_over_is_not_sent_after_a_suspension(
    tmp_path: Path, clock: Path, sink: ScriptedUpstream, figure: Figure
) -> None:
    with Waypost(tmp_path, sink.port, f"connections = 1\n{_QUEUED}") as relay:
        sink.is_holding = True
        for number in range(12):
            relay.send(html_mail(), f"to-{number}@example.com")
        _wait_until_leased(relay, 12)
        mail = relay.children()[0]
        until(lambda: _suspend_while(relay, mail, "UPDATE delivery SET leased_by = 'another', leased_until = 1 << 54"))
        clock.write_text("+200s")  # as for a machine that was suspended
        sink.is_holding = False
        os.kill(mail, signal.SIGCONT)
        relay.wait_for_log(" lease-lost ", count=11)
        sleep(1)
        assert len(sink.arrivals) == 1  # had begun
        figure("12 leased mails, stopped past the lease and taken over: 11 dropped, sent 1, which had begun")


@pytest.mark.skipif(not IS_LONG, reason="200 s: WAYPOST_FAULTS=long")
def test_a_worker_that_was_stopped_past_its_lease_doubles_only_what_had_begun(
    tmp_path: Path, sink: ScriptedUpstream, figure: Figure
) -> None:
    sink.delay_s = 1.0
    connections = 4
    with Waypost(
        tmp_path, sink.port, f"connections = {connections}\n{_QUEUED}", 'workers = 2\nwatchdog = "0s"\n'
    ) as relay:
        for number in range(120):
            relay.send(html_mail(), f"to-{number}@example.com")
        _wait_until_leased(relay, 64)
        stopped = relay.children()[0]
        os.kill(stopped, signal.SIGSTOP)
        sleep(200)
        sink.delay_s = 0.0
        sleep(5)
        os.kill(stopped, signal.SIGCONT)
        drained(relay, 120)
        sleep(3)
        twice = len(sink.arrivals) - len({arrival.recipients[0] for arrival in sink.arrivals})
        assert twice <= connections
        figure(f"120 mails, one of two workers stopped for 200 s: twice {twice} of {connections} begun")
