"""The database taken away under the mail's load: inline mail flows on, queued mail is put off, nothing is lost."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from time import sleep

import pytest

from tests.faults import IS_LONG
from tests.faults.database_away import locked, moved_away
from tests.faults.figures import Figure
from tests.faults.load import Load, arrived, doubles
from tests.faults.queued_mail import drained, settings
from tests.upstream import ScriptedUpstream
from tests.waypost_server import Waypost

AWAY_S = 60.0 if IS_LONG else 2.5
Away = Callable[[Waypost], AbstractContextManager[None]]


@pytest.mark.parametrize(
    ("mode", "away"),
    [("inline", locked), pytest.param("inline", moved_away, marks=pytest.mark.sqlite), ("queued", locked)],
)
def test_mail_outlives_the_database(
    mode: str, away: Away, tmp_path: Path, sink: ScriptedUpstream, figure: Figure
) -> None:
    with Waypost(tmp_path, None, settings(sink, mode)) as relay:
        with Load(relay.port, threads=2, pause_s=0.02) as load:
            load.wait_for(5)
            with away(relay):
                before = len(load.accepted)
                sleep(AWAY_S)
                if mode == "inline":
                    load.wait_for(2 - min(2, len(load.accepted) - before))
                during = len(load.accepted) - before
            sleep(0.5)
        drained(relay)
    lost = load.accepted - set(arrived(sink))
    put_off = sum(load.refused.values())
    figure(
        f"{AWAY_S:.0f} s without it: accepted {during} meanwhile, {put_off} put off with 4xx; "
        f"lost {len(lost)}, twice {doubles(sink)}"
    )
    assert not lost
    assert not doubles(sink)
    assert not load.put_off & set(arrived(sink))
    assert not load.unsure
    assert all(400 <= code < 500 for code in load.refused), load.refused
    if mode == "inline":
        assert during > 1 and not load.refused
