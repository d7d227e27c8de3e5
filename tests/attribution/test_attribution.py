"""The verdicts on labelled sequences of hits.  Always: in whatever order hits come, the same in the end."""

import random
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from relay.attribution import delivery_verdict, request_verdict, rules
from tests.attribution import traces
from tests.attribution.traces import DELIVERED

TRACES = traces.read()
SECOND = traces.read(traces.SECOND)
WIN = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/145.0.0.0 Safari/537.36"
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Safari/605.1.15"


def test_there_are_enough_sequences_of_every_kind() -> None:
    assert len(TRACES) >= 150
    assert len({trace.group for trace in TRACES}) >= 14
    assert all(trace.steps for trace in TRACES)


def test_people_and_machines_are_told_apart() -> None:
    found = traces.score()
    assert found["people"].precision >= 0.98 and found["people"].recall >= 0.99
    assert found["machine"].precision >= 0.99 and found["machine"].recall >= 0.97


def test_so_they_are_in_sequences_written_without_knowing_the_rules() -> None:
    assert len(SECOND) >= 120
    found = traces.score(traces.SECOND)
    assert found["people"].precision >= 0.99 and found["people"].recall >= 0.99
    assert found["machine"].precision >= 0.99 and found["machine"].recall >= 0.99


@pytest.mark.parametrize("group", sorted({trace.group for trace in TRACES}))
def test_no_person_of_any_group_is_called_a_machine(group: str) -> None:
    for trace, step, verdict in traces.judged():
        if trace.group == group and step.expected in ("person", "proxied"):
            assert verdict.verdict == step.expected.replace("person", "human"), (trace.title, verdict)


def test_the_order_in_which_hits_come_in_makes_no_difference() -> None:
    dice = random.Random(6)
    for trace in TRACES + SECOND:
        hits = traces.hits(trace)
        whole = delivery_verdict.judge_delivery(hits, traces.observations(trace), DELIVERED)
        order = dice.sample(range(len(hits)), len(hits))
        mixed = delivery_verdict.judge_delivery([hits[n] for n in order], traces.observations(trace), DELIVERED)
        assert [whole.verdicts[n] for n in order] == mixed.verdicts, trace.title


def verdicts(
    *steps: tuple[float, str, str, str], observations: tuple[tuple[float, str, str, str], ...] = ()
) -> list[str]:
    """Of (second, link or "" for an open, agent, address)."""
    hits = [
        delivery_verdict.HitEvidence(
            DELIVERED + timedelta(seconds=second),
            bool(link),
            link,
            agent,
            address,
            request_verdict.judge_request(agent, {}, address, is_click=bool(link)),
        )
        for second, link, agent, address in steps
    ]
    seen = [
        delivery_verdict.SideObservation(DELIVERED + timedelta(seconds=s), what, agent, ip)
        for s, what, agent, ip in observations
    ]
    return [one.verdict for one in delivery_verdict.judge_delivery(hits, seen, DELIVERED).verdicts]


def test_three_links_within_two_seconds_are_a_machine_s_wherever_it_sits() -> None:
    for address in ("127.0.0.1", "", "192.0.2.1"):
        assert verdicts((90, "1", WIN, address), (91, "2", WIN, address), (91.9, "3", WIN, address)) == ["machine"] * 3
        assert verdicts((90, "1", WIN, address), (91, "2", WIN, address), (92.9, "3", WIN, address)) == ["human"] * 3
        assert verdicts((90, "1", WIN, address), (90, "1", WIN, address), (91, "1", WIN, address)) == ["human"] * 3


def test_the_unsubscribe_page_is_a_link_too() -> None:
    page = ((91.0, "page", "", ""),)
    assert verdicts((90, "1", WIN, "192.0.2.1"), (91, "2", WIN, "192.0.2.1"), observations=page) == ["machine"] * 2
    assert verdicts((90, "1", WIN, "192.0.2.1"), observations=page) == ["human"]


def test_a_person_who_clicks_during_a_scanner_s_burst_stays_a_person() -> None:
    burst = [(400 + n / 4, str(n), WIN, "20.51.8.9") for n in range(1, 5)]
    assert verdicts((300, "", MAC, "192.0.2.9"), *burst, (401, "2", MAC, "192.0.2.9")) == [
        "human", *["machine"] * 4, "human",
    ]  # fmt: skip


def test_who_follows_many_links_without_a_picture_is_a_machine_the_sooner_the_surer() -> None:
    def verdict(start: float, apart: float, links: int, *more: tuple[float, str, str, str]) -> set[str]:
        clicks = [(start + n * apart, str(n), WIN, "203.0.113.7") for n in range(1, links + 1)]
        return set(verdicts(*clicks, *more)[:links])

    assert verdict(10, 5, 3) == verdict(60, 5, 6) == verdict(3600, 2.5, 4) == {"machine"}
    assert verdict(3600, 5, 6) == verdict(120, 5, 3) == verdict(60, 12, 5) == {"human"}
    for agent, address in ((WIN, "198.51.100.7"), (MAC, "203.0.113.9")):  # the program, or the network, had shown it
        assert verdict(60, 5, 6, (50, "", agent, address)) == {"human"}


def test_a_picture_loaded_with_the_links_makes_no_reader_of_a_data_centre() -> None:
    cloud = "20.51.8.9"
    assert verdicts((8, "", WIN, cloud), (9, "1", WIN, cloud), (11, "2", WIN, cloud)) == ["machine"] * 3
    assert verdicts((8, "", WIN, cloud), (19, "1", WIN, cloud)) == ["human"] * 2
    assert verdicts((8, "", MAC, cloud), (9, "1", WIN, cloud)) == ["human"] * 2  # the mail program, then the browser
    assert verdicts((2000, "", WIN, cloud), (2001, "1", WIN, cloud)) == ["human"] * 2
    assert verdicts((8, "", WIN, "203.0.113.7"), (9, "1", WIN, "203.0.113.7")) == ["human"] * 2


def test_a_click_within_seconds_from_another_network_than_the_person_s() -> None:
    assert verdicts((4, "1", WIN, "198.51.100.7"), (60, "", MAC, "203.0.113.9")) == ["machine", "human"]
    assert verdicts((4, "1", WIN, "198.51.100.7")) == ["human"]  # nobody else came: it may have been the person
    assert verdicts((4, "1", WIN, "198.51.100.7"), (60, "", MAC, "198.51.100.9")) == ["human", "human"]  # one network
    assert verdicts((4, "1", WIN, "127.0.0.1"), (60, "", MAC, "10.0.0.9")) == ["human", "human"]  # which tell nothing


def test_a_visitor_at_very_many_mailboxes_is_a_machine_for_a_while() -> None:
    many = ((300.0, "many", WIN, "198.51.100.7"),)
    assert verdicts((301, "1", WIN, "198.51.100.7"), (4000, "1", WIN, "198.51.100.7"), observations=many) == [
        "machine", "human",
    ]  # fmt: skip
    assert verdicts((301, "1", MAC, "198.51.100.7"), observations=many) == ["human"]


def test_a_click_implies_an_open_where_none_was_seen() -> None:
    click = delivery_verdict.HitEvidence(DELIVERED, True, "1", WIN, "", request_verdict.HitVerdict("human"))
    assert delivery_verdict.judge_delivery([click]).implies_open == 0
    for verdict, implied in (("human", None), ("proxied", None), ("machine", 1)):
        opened = delivery_verdict.HitEvidence(DELIVERED, False, "", WIN, "", request_verdict.HitVerdict(verdict))
        assert delivery_verdict.judge_delivery([opened, click]).implies_open == implied
    machine = click._replace(own_verdict=request_verdict.HitVerdict("machine", ("scanner:curl",)))
    assert delivery_verdict.judge_delivery([machine]).implies_open is None


def test_hits_of_a_mail_that_the_upstream_has_not_taken_yet_are_machines() -> None:
    assert verdicts((-8, "", WIN, "")) == ["machine"]
    assert verdicts((-1, "", WIN, "")) == ["human"]  # clocks differ
    assert verdicts((-300, "", WIN, "")) == ["human"]  # an earlier attempt, which arrived without a reply


def test_browsers_of_scanners_makers_and_outlook_for_mac_are_people() -> None:
    chrome = WIN.removesuffix("Chrome/145.0.0.0 Safari/537.36")
    for agent in (
        f"{chrome}Chrome/126.0.0.0 Safari/537.36 Avast/126.0.0",
        f"{chrome}Chrome/126.0.0.0 Safari/537.36 AvastSecureBrowser/126",
        f"{chrome}Chrome/126.0.0.0 Safari/537.36 Avast SecureBrowser/126",
        f"{chrome}Chrome/126.0.0.0 Safari/537.36 AVG/126.0.0.0",
        f"{chrome}Chrome/126.0.0.0 Safari/537.36 ESETSecureBrowser/1.0",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) CiscoWebex/44.6",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Cisco Spark/4.9",
        "MacOutlook/16.61.22041701 (Intelx64 Mac OS X Version 12.3.1)",
    ):
        for is_click in (False, True):
            assert request_verdict.judge_request(agent, {}, "", is_click=is_click).verdict == "human", agent
    for agent in ("Avast Web Shield", "ESET Mail Security", "Mozilla/5.0 (compatible; Cisco Umbrella)", "Kaspersky"):
        assert request_verdict.judge_request(agent, {}, "", is_click=False).verdict == "machine", agent


def test_gmails_prefetch_is_told_by_its_whole_name_only() -> None:
    edge = (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/42.0.2311.135 "
        "Safari/537.36 Edge/12.246"
    )
    assert "gmail_prefetch" in request_verdict.judge_request(f"{edge} Mozilla/5.0", {}, "", is_click=False).reasons
    assert "gmail_prefetch" not in request_verdict.judge_request(edge, {}, "", is_click=False).reasons


def patterns() -> Iterator[rules.Pattern]:
    known = rules.load()
    yield from (pattern for _, pattern in known.prefetchers + known.scanners)
    yield known.people
    for proxy in known.proxies:
        yield from filter(None, (proxy.agent, proxy.unless))
    for one in known.obsolete + known.impossible:
        yield from filter(None, (one.agent, one.unless, one.platform))


PUMPED = (
    "Mozilla/5.0 (", "AppleWebKit/", " Chrome/42.0.2311.135 ", "Viber/", "Microsoft Teams", "Office Mobile",
    "imageproxy ", "Windows NT 6.1", "Chrome/", "1", " ", "a", "bot", "link_", "Edge/12.246 ", "\t", "é",
)  # fmt: skip


def test_no_pattern_takes_more_than_linear_time_on_what_anybody_may_write() -> None:
    def took_s(pattern: rules.Pattern, text: str) -> float:
        started = time.thread_time()
        pattern.search(text)
        pattern.fullmatch(text)
        return time.thread_time() - started

    for pattern in patterns():
        for part in PUMPED:
            for head in ("", "Mozilla/5.0 (x) AppleWebKit/1"):
                # Four times as long may take eight times as long; a square takes sixteen. Short times say nothing.
                short, long = (head + part * (length // len(part)) + "!" for length in (16_000, 64_000))
                if took_s(pattern, long) > 0.05:
                    once = min(took_s(pattern, short) for _ in range(3))
                    assert min(took_s(pattern, long) for _ in range(3)) < max(8 * once, 0.05), (pattern.pattern, part)


def test_a_user_agent_is_judged_and_kept_by_its_first_characters_alone() -> None:
    long = WIN + " " + "x" * request_verdict.MAX_USER_AGENT
    assert request_verdict.judge_user_agent(long + "curl/8", is_click=True) is request_verdict.judge_user_agent(
        long + "HeadlessChrome", is_click=True
    )
    for address in ("192.0.2.1" + " " * 100_000, "f" * 100_000, "fe80::1%" + "x" * 100_000):
        assert request_verdict.visitor_network(address) == "" and not request_verdict.is_hosted(address)
