"""All hits of one delivery beside each other: what one request alone does not tell.

In: the hits with the verdicts that each had by itself, what was seen beside them, and when the upstream took the
mail.  Out: a verdict for each, and which click stands for an open too. Nothing here knows of time but by its
arguments, so that the past can be judged anew. The numbers are those of `rules.toml`.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from relay.attribution import request_verdict
from relay.attribution.request_verdict import HUMAN, MACHINE, PROXIED, Verdict
from relay.attribution.rules import SWEEPS, TIMING, Sweep

# What is seen beside hits, and counts nothing: the unsubscribe page, a HEAD, an address that went on to many others.
PAGE, HEAD, MANY = "page", "head", "many"

BEFORE_DELIVERY, BURST, SWEEP, TOO_SOON = "before_delivery", "burst", "sweep", "too_soon"
UNSEEN, HOSTED, ECHO, HEAD_FIRST = "unseen", "hosted", "echo", "head"
MANY_RECIPIENTS, SAME_VISITOR = "many_recipients", "same_visitor"
REASONS = frozenset(
    {BEFORE_DELIVERY, BURST, SWEEP, TOO_SOON, UNSEEN, HOSTED, ECHO, HEAD_FIRST, MANY_RECIPIENTS, SAME_VISITOR}
)
_PEOPLE = (HUMAN, PROXIED)


class Hit(NamedTuple):
    """A pixel or a link that was asked for."""

    at: datetime
    is_click: bool
    link: str  # which one, for a click
    agent: str
    address: str  # as far as it is kept
    alone: Verdict  # by itself


class Aside(NamedTuple):
    """What was seen beside the hits."""

    at: datetime
    what: str
    agent: str
    address: str


class Judgment(NamedTuple):
    """The verdicts in the order of the hits, and the click that implies an open, if one does."""

    verdicts: list[Verdict]
    implies_open: int | None


def judge(hits: Sequence[Hit], asides: Sequence[Aside] = (), delivered_at: datetime | None = None) -> Judgment:
    """Judges the hits, given in any order."""
    order = sorted(range(len(hits)), key=lambda n: hits[n].at)
    case = _Case([hits[n] for n in order], asides, delivered_at)
    case.judge()
    verdicts: list[Verdict] = [Verdict("")] * len(hits)
    for n, verdict in zip(order, case.verdicts(), strict=True):
        verdicts[n] = verdict
    opened = any(not hits[n].is_click and verdicts[n].verdict in _PEOPLE for n in order)
    clicked = (n for n in order if hits[n].is_click and verdicts[n].verdict == HUMAN)
    return Judgment(verdicts, None if opened else next(clicked, None))


class _Case:
    """The hits in order of time, and the reasons found against them."""

    def __init__(self, hits: list[Hit], asides: Sequence[Aside], delivered_at: datetime | None) -> None:
        self.hits = hits
        self.asides = asides
        self.after_s = [(hit.at - delivered_at).total_seconds() if delivered_at else None for hit in hits]
        self.networks = [request_verdict.network(hit.address) for hit in hits]
        self.found: list[dict[str, None]] = [{} for _ in hits]
        self.opened_from = {network for hit, network in zip(hits, self.networks, strict=True) if not hit.is_click}
        self.opened_with = {hit.agent for hit in hits if not hit.is_click}
        self.clicks = [n for n, hit in enumerate(hits) if hit.is_click]

    def judge(self) -> None:
        for n, after_s in enumerate(self.after_s):
            # Long before is another attempt, which ended without a reply and may have arrived all the same.
            if after_s is not None and -TIMING.attempt_s < after_s < -TIMING.before_delivery_s:
                self._blame(n, BEFORE_DELIVERY)
        self._bursts()
        self._sweeps()
        self._beside(HEAD, HEAD_FIRST, TIMING.head_s)
        self._beside(MANY, MANY_RECIPIENTS, TIMING.head_s)
        if len(set(self.networks) - {""}) > 1:
            self._too_soon()
            self._unseen()
            self._echoes()
        self._hosted()
        self._same_visitors()

    def verdicts(self) -> Iterator[Verdict]:
        for hit, found in zip(self.hits, self.found, strict=True):
            if found:
                yield Verdict(MACHINE, (*(hit.alone.reasons if hit.alone.verdict == MACHINE else ()), *found))
            else:
                yield hit.alone

    def _blame(self, n: int, reason: str) -> None:
        self.found[n][reason] = None

    def _is_person(self, n: int) -> bool:
        return not self.found[n] and self.hits[n].alone.verdict == HUMAN

    def _apart_s(self, n: int, m: int) -> float:
        return (self.hits[m].at - self.hits[n].at).total_seconds()

    def _is_other(self, n: int, m: int) -> bool:
        """Two visitors for sure: another network and another program."""
        if not self.networks[n] or not self.networks[m] or self.networks[n] == self.networks[m]:
            return False
        return self.hits[n].agent != self.hits[m].agent

    def _has_opened(self, n: int) -> bool:
        """Whether a picture was loaded from that visitor's network, or with its program."""
        return self.networks[n] in self.opened_from or self.hits[n].agent in self.opened_with

    def _windows(self, seconds: float) -> Iterator[list[int]]:
        """For each click, those within so many seconds from it on."""
        times = [self.hits[n].at.timestamp() for n in self.clicks]
        for k, start in enumerate(times):
            yield self.clicks[k : bisect_left(times, start + seconds + 1e-6)]

    def _bursts(self) -> None:
        for window in self._windows(TIMING.burst_s):
            self._burst([n for n in window if self._visitor(n) == self._visitor(window[0])])
        # And from many addresses at once; who else clicked just then had seen the mail before.
        for window in self._windows(TIMING.burst_s):
            self._burst([n for n in window if not self.found[n] and not self._has_opened(n)])

    def _burst(self, clicks: list[int]) -> None:
        if not clicks:
            return
        first, last = self.hits[clicks[0]].at, self.hits[clicks[-1]].at
        whole = timedelta(seconds=TIMING.burst_s)
        has_page = any(one.what == PAGE and last - whole <= one.at <= first + whole for one in self.asides)
        if len({self.hits[n].link for n in clicks}) + has_page >= TIMING.burst_links:
            for n in clicks:
                self._blame(n, BURST)

    def _visitor(self, n: int) -> tuple[str, str]:
        return self.networks[n], self.hits[n].agent

    def _sweeps(self) -> None:
        for rule in SWEEPS:
            for window in self._windows(rule.within_s):
                self._sweep(rule, window)

    def _sweep(self, rule: Sweep, window: list[int]) -> None:
        first = window[0]
        mine = [n for n in window if self.networks[n] and self._visitor(n) == self._visitor(first)]
        if len({self.hits[n].link for n in mine}) < rule.links or self._has_opened(first):
            return
        if (self.after_s[first] or 0) > rule.delivered_s:
            return
        if any(hit.at <= self.hits[first].at and hit.alone.verdict == PROXIED for hit in self.hits):
            return  # a person behind a provider's proxy, opening several tabs
        for n in mine:
            if BURST not in self.found[n]:  # which says it all
                self._blame(n, SWEEP)

    def _beside(self, what: str, reason: str, seconds: float) -> None:
        for aside in self.asides:
            network = request_verdict.network(aside.address)
            if aside.what != what or not network:
                continue
            for n, hit in enumerate(self.hits):
                is_near = abs((hit.at - aside.at).total_seconds()) <= seconds
                is_same = (network, aside.agent) == self._visitor(n) and hit.alone.verdict != PROXIED
                if is_same and is_near:
                    self._blame(n, reason)

    def _too_soon(self) -> None:
        for n, hit in enumerate(self.hits):
            after_s = self.after_s[n]
            limit_s = TIMING.too_soon_click_s if hit.is_click else TIMING.too_soon_open_s
            if after_s is None or after_s > limit_s or not self._is_person(n):
                continue
            if any(
                self._comes_later(n, m) and self._is_other(n, m) and self._apart_s(n, m) >= TIMING.later_s
                for m in range(n + 1, len(self.hits))
            ):
                self._blame(n, TOO_SOON)

    def _comes_later(self, n: int, m: int) -> bool:
        """Whether m is a person's. Behind a provider's proxy he may have clicked first, but not loaded the picture."""
        is_proxied = self.hits[m].alone.verdict == PROXIED and not self.hits[n].is_click
        return self._is_person(m) or (is_proxied and not self.found[m])

    def _unseen(self) -> None:
        opens = [n for n, hit in enumerate(self.hits) if not hit.is_click and hit.alone.verdict in _PEOPLE]
        opens = [n for n in opens if not self.found[n]]
        for n in self.clicks:
            after_s = self.after_s[n]
            if after_s is None or after_s > TIMING.unseen_s or not self._is_person(n) or self._has_opened(n):
                continue
            if opens and all(self._apart_s(n, m) > 0 for m in opens) and any(self._is_other(n, m) for m in opens):
                self._blame(n, UNSEEN)

    def _hosted(self) -> None:
        for n in self.clicks:
            after_s = self.after_s[n]
            if after_s is None or after_s > TIMING.hosted_s or not self._is_person(n):
                continue
            if request_verdict.is_hosted(self.hits[n].address) and (not self._has_opened(n) or self._glanced(n)):
                self._blame(n, HOSTED)

    def _glanced(self, n: int) -> bool:
        """Whether the only pictures were loaded by that visitor, hardly before its first click: pages are loaded so."""
        opens = [m for m, hit in enumerate(self.hits) if not hit.is_click and hit.alone.verdict in _PEOPLE]
        clicks = [m for m in self.clicks if self._visitor(m) == self._visitor(n)]
        return all(
            self._visitor(m) == self._visitor(n) and -TIMING.glance_s < self._apart_s(m, clicks[0]) < TIMING.glance_s
            for m in opens
        )

    def _echoes(self) -> None:
        """Of two visitors at one link it is the one who never loaded a picture; else the second."""
        for window in self._windows(TIMING.echo_s):
            n = window[0]
            for m in window[1:]:
                is_echo = self.hits[n].link == self.hits[m].link and self._is_other(n, m)
                if not is_echo or not self._is_person(n) or not self._is_person(m):
                    continue
                self._blame(n if self._has_opened(m) and not self._has_opened(n) else m, ECHO)

    def _same_visitors(self) -> None:
        guilty = [
            n
            for n, found in enumerate(self.found)
            if self.networks[n]
            and (found or any(r.startswith(request_verdict.NETWORK) for r in self.hits[n].alone.reasons))
        ]
        for n in guilty:
            for m, hit in enumerate(self.hits):
                is_near = abs(self._apart_s(n, m)) <= TIMING.visitor_s
                is_same = self._visitor(m) == self._visitor(n) and hit.alone.verdict not in (PROXIED, MACHINE)
                if is_near and is_same and not self.found[m]:
                    self._blame(m, SAME_VISITOR)
