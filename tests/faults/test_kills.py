"""kill -9 at any moment: nothing that was answered 250 is lost, and only what was in flight can come twice."""

import os
import random
import signal
from pathlib import Path
from time import sleep

import pytest

from tests.faults import IS_LONG
from tests.faults.figures import Figure
from tests.faults.load import Load, arrived, doubles
from tests.faults.queued_mail import CONNECTIONS, drained, settings
from tests.upstream import ScriptedUpstream
from tests.waypost_server import Waypost

KILLS = 100 if IS_LONG else 2


@pytest.mark.parametrize("mode", ["queued", "inline"])
def test_a_kill_loses_nothing_that_was_accepted(
    mode: str, tmp_path: Path, sink: ScriptedUpstream, figure: Figure
) -> None:
    chance = random.Random(mode)
    with Waypost(tmp_path, None, settings(sink, mode)) as relay:
        with Load(relay.port) as load:
            for n in range(KILLS):
                load.wait_for(10)
                sleep(chance.uniform(0.0, 0.5))
                if IS_LONG and n % 3 == 2:  # a role alone: the supervisor starts it again
                    os.kill(relay.children()[0], signal.SIGKILL)
                else:
                    relay.kill()
                    relay.start()
            sleep(0.5)
        drained(relay)
    lost = load.accepted - set(arrived(sink))
    twice = doubles(sink)
    figure(
        f"{KILLS} kills, accepted {len(load.accepted)}, lost {len(lost)}, twice {twice}, "
        f"cut off after the dot {len(load.unsure)}"
    )
    assert len(load.accepted) >= 10 * KILLS
    assert not lost
    # In flight: what each connection carried, and what it had just carried and was being written down.
    assert twice <= KILLS * 2 * CONNECTIONS


@pytest.mark.parametrize("mode", ["queued", "inline"])
def test_a_stop_under_load_loses_and_doubles_nothing(
    mode: str, tmp_path: Path, sink: ScriptedUpstream, figure: Figure
) -> None:
    stops = 10 if IS_LONG else 1
    accepted: set[str] = set()
    with Waypost(tmp_path, None, settings(sink, mode)) as relay:
        for _ in range(stops):
            with Load(relay.port) as load:
                load.wait_for(20)
                assert relay.stop() == 0
            accepted |= {f"{name}" for name in load.accepted}
            assert not load.unsure
            relay.start()
        drained(relay)
    figure(f"{stops} stops under load, accepted {len(accepted)}, arrived {len(sink.arrivals)}, twice {doubles(sink)}")
    assert accepted == set(arrived(sink))
    assert doubles(sink) == 0
