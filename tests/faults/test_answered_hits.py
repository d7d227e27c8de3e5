"""A hit that was answered is kept, whatever ends the process behind it."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import httpx
import pytest

from tests.faults import IS_LONG
from tests.faults.figures import Figure
from tests.upstream import ScriptedUpstream
from tests.user_agents import PHONE
from tests.waiting import until
from tests.waypost_server import Waypost, html_mail, tracking_urls

KILLS, LOAD_S = (10, 3.0) if IS_LONG else (2, 0.7)


@pytest.fixture
def relay(tmp_path: Path, upstream: ScriptedUpstream) -> Iterator[Waypost]:
    with Waypost(tmp_path, upstream.port) as running:
        yield running


def test_after_a_kill_of_the_web_role_no_answered_hit_is_missing(
    relay: Waypost, upstream: ScriptedUpstream, figure: Figure
) -> None:
    who = "answered-hits@example.com"
    relay.send(html_mail(), who)
    [url] = tracking_urls(upstream.to(who)[0].octets)["c"]
    answered = 0
    counting = threading.Lock()

    def click() -> None:
        nonlocal answered
        with httpx.Client(headers={"user-agent": PHONE}) as client:
            end = monotonic() + LOAD_S
            while monotonic() < end:
                try:
                    is_answered = client.get(url).status_code == 302
                except httpx.HTTPError:
                    sleep(0.02)
                    continue
                with counting:
                    answered += is_answered

    for _ in range(KILLS):
        clicking = [threading.Thread(target=click) for _ in range(4)]
        for thread in clicking:
            thread.start()
        sleep(LOAD_S / 2)
        os.kill(relay.children()[-1], signal.SIGKILL)
        for thread in clicking:
            thread.join()
    assert answered
    until(lambda: _clicks(relay), fits=lambda clicks: clicks >= answered, every_s=0.2)
    figure(f"{KILLS} kills: {answered:,} clicks answered, none of them missing")


def _clicks(relay: Waypost) -> int:
    return sum(row["type"] == "clicked" for row in relay.rows("events", "--limit", "100000"))
