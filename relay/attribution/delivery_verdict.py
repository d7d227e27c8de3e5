"""The verdicts on all hits of one delivery, judged together: a single request does not show a pattern.

In: the hits with the verdict that each had by itself, observations beside them, and when the upstream accepted the
mail.  Out: a verdict for each hit, and the click that implies an open. All times are arguments, so that old hits can
be judged again. The numbers are those of `rules.toml`.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from relay.attribution import request_verdict, rules
from relay.attribution.request_verdict import HitVerdict
from relay.attribution.rules import SweepRule
from relay.hit_verdict import HUMAN, MACHINE, PERSON_VERDICTS, PROXIED

# Kinds of observations, which are no hits: the unsubscribe page, a HEAD, a visitor that went on to many recipients.
PAGE, HEAD, MANY_RECIPIENTS_SEEN = "page", "head", "many"

BEFORE_DELIVERY, BURST, SWEEP, TOO_SOON = "before_delivery", "burst", "sweep", "too_soon"
UNSEEN, HOSTED, ECHO, HEAD_FIRST = "unseen", "hosted", "echo", "head"
MANY_RECIPIENTS, SAME_VISITOR = "many_recipients", "same_visitor"
REASONS = frozenset(
    {BEFORE_DELIVERY, BURST, SWEEP, TOO_SOON, UNSEEN, HOSTED, ECHO, HEAD_FIRST, MANY_RECIPIENTS, SAME_VISITOR}
)


class HitEvidence(NamedTuple):
    """A request for a pixel or a link, as far as the rules look at it."""

    at: datetime
    is_click: bool
    link: str  # which one, for a click
    agent: str
    address: str  # as far as it is stored
    own_verdict: HitVerdict  # from this request alone


class SideObservation(NamedTuple):
    """Something else that a visitor did at the time of the hits; it counts as no hit."""

    at: datetime
    kind: str
    agent: str
    address: str


class DeliveryVerdicts(NamedTuple):
    """The verdicts in the order of the hits, and the click that implies an open, if one does."""

    verdicts: list[HitVerdict]
    implies_open: int | None


def judge_delivery(
    hits: Sequence[HitEvidence], observations: Sequence[SideObservation] = (), delivered_at: datetime | None = None
) -> DeliveryVerdicts:
    """Judges the hits, given in any order."""
    order = sorted(range(len(hits)), key=lambda n: hits[n].at)
    case = _Case([hits[n] for n in order], observations, delivered_at)
    case.judge()
    verdicts: list[HitVerdict] = [HitVerdict("")] * len(hits)
    for n, verdict in zip(order, case.verdicts(), strict=True):
        verdicts[n] = verdict
    opened = any(not hits[n].is_click and verdicts[n].verdict in PERSON_VERDICTS for n in order)
    clicked = (n for n in order if hits[n].is_click and verdicts[n].verdict == HUMAN)
    return DeliveryVerdicts(verdicts, None if opened else next(clicked, None))


class _Case:
    """The hits in order of time, and the reasons found against them."""

    def __init__(
        self, hits: list[HitEvidence], observations: Sequence[SideObservation], delivered_at: datetime | None
    ) -> None:
        self._rules = rules.load()
        self._timing = self._rules.timing
        self.hits = hits
        self.observations = observations
        self.after_s = [(hit.at - delivered_at).total_seconds() if delivered_at else None for hit in hits]
        self.networks = [request_verdict.visitor_network(hit.address) for hit in hits]
        self.reasons: list[dict[str, None]] = [{} for _ in hits]
        self.opened_from = {network for hit, network in zip(hits, self.networks, strict=True) if not hit.is_click}
        self.opened_with = {hit.agent for hit in hits if not hit.is_click}
        self.clicks = [n for n, hit in enumerate(hits) if hit.is_click]

    def judge(self) -> None:
        for n, after_s in enumerate(self.after_s):
            # Long before is another attempt, which ended without a reply and may have arrived all the same.
            if after_s is not None and -self._timing.attempt_s < after_s < -self._timing.before_delivery_s:
                self._add_reason(n, BEFORE_DELIVERY)
        self._find_bursts()
        self._find_sweeps()
        self._match_observations(HEAD, HEAD_FIRST, self._timing.head_s)
        self._match_observations(MANY_RECIPIENTS_SEEN, MANY_RECIPIENTS, self._timing.head_s)
        if len(set(self.networks) - {""}) > 1:
            self._find_too_soon()
            self._find_unseen()
            self._find_echoes()
        self._find_hosted()
        self._find_same_visitors()

    def verdicts(self) -> Iterator[HitVerdict]:
        for hit, found in zip(self.hits, self.reasons, strict=True):
            if found:
                yield HitVerdict(
                    MACHINE, (*(hit.own_verdict.reasons if hit.own_verdict.verdict == MACHINE else ()), *found)
                )
            else:
                yield hit.own_verdict

    def _add_reason(self, n: int, reason: str) -> None:
        self.reasons[n][reason] = None

    def _is_person(self, n: int) -> bool:
        return not self.reasons[n] and self.hits[n].own_verdict.verdict == HUMAN

    def _seconds_between(self, n: int, m: int) -> float:
        return (self.hits[m].at - self.hits[n].at).total_seconds()

    def _are_different_visitors(self, n: int, m: int) -> bool:
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

    def _find_bursts(self) -> None:
        for window in self._windows(self._timing.burst_s):
            self._mark_burst([n for n in window if self._visitor_of(n) == self._visitor_of(window[0])])
        # And from many addresses at once; who else clicked just then had seen the mail before.
        for window in self._windows(self._timing.burst_s):
            self._mark_burst([n for n in window if not self.reasons[n] and not self._has_opened(n)])

    def _mark_burst(self, clicks: list[int]) -> None:
        if not clicks:
            return
        first, last = self.hits[clicks[0]].at, self.hits[clicks[-1]].at
        whole = timedelta(seconds=self._timing.burst_s)
        has_page = any(one.kind == PAGE and last - whole <= one.at <= first + whole for one in self.observations)
        if len({self.hits[n].link for n in clicks}) + has_page >= self._timing.burst_links:
            for n in clicks:
                self._add_reason(n, BURST)

    def _visitor_of(self, n: int) -> tuple[str, str]:
        return self.networks[n], self.hits[n].agent

    def _find_sweeps(self) -> None:
        for rule in self._rules.sweeps:
            for window in self._windows(rule.within_s):
                self._mark_sweep(rule, window)

    def _mark_sweep(self, rule: SweepRule, window: list[int]) -> None:
        first = window[0]
        own_clicks = [n for n in window if self.networks[n] and self._visitor_of(n) == self._visitor_of(first)]
        if len({self.hits[n].link for n in own_clicks}) < rule.links or self._has_opened(first):
            return
        if (self.after_s[first] or 0) > rule.delivered_s:
            return
        if any(hit.at <= self.hits[first].at and hit.own_verdict.verdict == PROXIED for hit in self.hits):
            return  # a person behind a provider's proxy, opening several tabs
        for n in own_clicks:
            if BURST not in self.reasons[n]:  # a burst is the stronger reason
                self._add_reason(n, SWEEP)

    def _match_observations(self, kind: str, reason: str, seconds: float) -> None:
        for observation in self.observations:
            network = request_verdict.visitor_network(observation.address)
            if observation.kind != kind or not network:
                continue
            for n, hit in enumerate(self.hits):
                is_near = abs((hit.at - observation.at).total_seconds()) <= seconds
                is_same = (network, observation.agent) == self._visitor_of(n) and hit.own_verdict.verdict != PROXIED
                if is_same and is_near:
                    self._add_reason(n, reason)

    def _find_too_soon(self) -> None:
        for n, hit in enumerate(self.hits):
            after_s = self.after_s[n]
            limit_s = self._timing.too_soon_click_s if hit.is_click else self._timing.too_soon_open_s
            if after_s is None or after_s > limit_s or not self._is_person(n):
                continue
            if any(
                self._comes_later(n, m)
                and self._are_different_visitors(n, m)
                and self._seconds_between(n, m) >= self._timing.later_s
                for m in range(n + 1, len(self.hits))
            ):
                self._add_reason(n, TOO_SOON)

    def _comes_later(self, n: int, m: int) -> bool:
        """Whether m is a person's. A person behind a proxy may have clicked first, but not loaded the picture."""
        is_proxied = self.hits[m].own_verdict.verdict == PROXIED and not self.hits[n].is_click
        return self._is_person(m) or (is_proxied and not self.reasons[m])

    def _find_unseen(self) -> None:
        opens = [
            n for n, hit in enumerate(self.hits) if not hit.is_click and hit.own_verdict.verdict in PERSON_VERDICTS
        ]
        opens = [n for n in opens if not self.reasons[n]]
        for n in self.clicks:
            after_s = self.after_s[n]
            if after_s is None or after_s > self._timing.unseen_s or not self._is_person(n) or self._has_opened(n):
                continue
            if (
                opens
                and all(self._seconds_between(n, m) > 0 for m in opens)
                and any(self._are_different_visitors(n, m) for m in opens)
            ):
                self._add_reason(n, UNSEEN)

    def _find_hosted(self) -> None:
        for n in self.clicks:
            after_s = self.after_s[n]
            if after_s is None or after_s > self._timing.hosted_s or not self._is_person(n):
                continue
            if request_verdict.is_hosted(self.hits[n].address) and (not self._has_opened(n) or self._only_glanced(n)):
                self._add_reason(n, HOSTED)

    def _only_glanced(self, n: int) -> bool:
        """Whether the only pictures were loaded by that visitor, hardly before its first click: pages are loaded so."""
        opens = [
            m for m, hit in enumerate(self.hits) if not hit.is_click and hit.own_verdict.verdict in PERSON_VERDICTS
        ]
        clicks = [m for m in self.clicks if self._visitor_of(m) == self._visitor_of(n)]
        return all(
            self._visitor_of(m) == self._visitor_of(n)
            and -self._timing.glance_s < self._seconds_between(m, clicks[0]) < self._timing.glance_s
            for m in opens
        )

    def _find_echoes(self) -> None:
        """Two visitors at one link: the one who never loaded a picture is the echo; else the second is."""
        for window in self._windows(self._timing.echo_s):
            n = window[0]
            for m in window[1:]:
                is_echo = self.hits[n].link == self.hits[m].link and self._are_different_visitors(n, m)
                if not is_echo or not self._is_person(n) or not self._is_person(m):
                    continue
                self._add_reason(n if self._has_opened(m) and not self._has_opened(n) else m, ECHO)

    def _find_same_visitors(self) -> None:
        machines = [
            n
            for n, found in enumerate(self.reasons)
            if self.networks[n]
            and (found or any(r.startswith(request_verdict.NETWORK_PREFIX) for r in self.hits[n].own_verdict.reasons))
        ]
        for n in machines:
            for m, hit in enumerate(self.hits):
                is_near = abs(self._seconds_between(n, m)) <= self._timing.visitor_s
                is_same = self._visitor_of(m) == self._visitor_of(n) and hit.own_verdict.verdict not in (
                    PROXIED,
                    MACHINE,
                )
                if is_near and is_same and not self.reasons[m]:
                    self._add_reason(m, SAME_VISITOR)
