"""The database taken away under load: no redirect fails, no event is lost or counted twice.

A few seconds in the suite; WAYPOST_FAULTS=long takes it away for a minute each time.
"""

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple

import httpx
import pytest

from relay.store.store import MAX_WAIT_S
from tests.faults import IS_LONG
from tests.faults.database_away import full, locked, moved_away
from tests.faults.figures import Figure
from tests.upstream import ScriptedUpstream
from tests.user_agents import PHONE
from tests.waiting import until
from tests.waypost_server import Waypost, html_mail, tracking_urls

BEFORE_S, AWAY_S = (10.0, 60.0) if IS_LONG else (0.5, 1.8)
AT_A_TIME = 4
PAUSE_S = 0.005 if IS_LONG else 0.02  # between a visitor's requests: the suite has other things to do
RECIPIENTS = 20
TARGET = "https://shop.example/a?b=1"


class TrackingLoad(NamedTuple):
    """What was asked for, and how long each answer took."""

    asked: Counter[str]  # by URL
    failures: list[str]
    took_s: list[float]


async def play(urls: list[str], seconds: float, load: TrackingLoad) -> None:
    """Opens and clicks, several at a time, one after the other."""
    end = time.monotonic() + seconds
    limits = httpx.Limits(max_connections=AT_A_TIME)
    async with httpx.AsyncClient(limits=limits, headers={"user-agent": PHONE}) as client:

        async def ask(url: str) -> None:
            started = time.perf_counter()
            answer = await client.get(url)
            load.took_s.append(time.perf_counter() - started)
            load.asked[url] += 1
            is_right = answer.headers.get("location") == TARGET if "/c/" in url else answer.status_code == 200
            if not is_right:
                load.failures.append(f"{answer.status_code} {url}")

        async def visitor(first: int) -> None:
            n = first
            while time.monotonic() < end:
                await ask(urls[n % len(urls)])
                await asyncio.sleep(PAUSE_S)
                n += AT_A_TIME

        await asyncio.gather(*(visitor(first) for first in range(AT_A_TIME)))


def counted(relay: Waypost, recipients: list[str]) -> Counter[tuple[str, str]]:
    rows = relay.sql("SELECT recipient, type FROM event WHERE type IN ('opened', 'clicked')")
    return Counter((recipient, type_) for recipient, type_ in rows if recipient in recipients)


def ms(seconds: list[float], percent: int) -> float:
    return statistics.quantiles(seconds, n=100)[percent - 1] * 1000


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory, upstream: ScriptedUpstream) -> Iterator[Waypost]:
    with Waypost(tmp_path_factory.mktemp("outage"), upstream.port, "[delivery]\ninline_recipients = 50\n") as running:
        yield running


@pytest.mark.parametrize(
    "away", [locked, pytest.param(moved_away, marks=pytest.mark.sqlite), pytest.param(full, marks=pytest.mark.sqlite)]
)
def test_no_redirect_fails_and_no_event_is_lost(
    relay: Waypost, upstream: ScriptedUpstream, away: Callable[[Waypost], AbstractContextManager[None]], figure: Figure
) -> None:
    who = [f"{away.__name__}{n}@example.com" for n in range(RECIPIENTS)]
    relay.send(html_mail(link=TARGET), *who)
    owner: dict[str, tuple[str, str]] = {}
    for one in who:
        found = tracking_urls(upstream.to(one)[0].octets)
        owner |= {found["o"][0]: (one, "opened"), found["c"][0]: (one, "clicked")}
    before, during = TrackingLoad(Counter(), [], []), TrackingLoad(Counter(), [], [])
    asyncio.run(play(list(owner), BEFORE_S, before))
    with away(relay):
        asyncio.run(play(list(owner), AWAY_S, during))
        assert list((relay.folder / "data" / "journal").iterdir()), "it was not away at all"
    asked = Counter({owner[url]: count for url, count in (before.asked + during.asked).items()})

    def lost_and_doubled() -> tuple[int, int]:
        kept = counted(relay, who)
        return (asked - kept).total(), (kept - asked).total()

    # What waited is committed behind new work.
    until(lost_and_doubled, fits=lambda counts: counts == (0, 0), every_s=0.1, timeout_s=400 if IS_LONG else 60)
    figure(
        f"{asked.total():,} requests, {len(before.failures + during.failures)} failed; "
        f"before p50 {ms(before.took_s, 50):.1f} p99 {ms(before.took_s, 99):.1f} ms, "
        f"away p50 {ms(during.took_s, 50):.1f} p99 {ms(during.took_s, 99):.1f} ms; 0 events lost, 0 doubled"
    )
    assert not before.failures and not during.failures
    # None waits for the database, which would take a second each; how fast they are the benchmarks measure.
    assert ms(during.took_s, 50) < ms(before.took_s, 50) + MAX_WAIT_S * 1000 / 2
    assert not list((relay.folder / "data" / "journal").glob("*.bad"))
