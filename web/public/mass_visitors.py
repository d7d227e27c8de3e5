"""Finds visitors who request the mail of many recipients with one address and program: scanners, not people.

In: hits as they come.  Out: the deliveries whose mail such a visitor has requested, each once. Visitors are in memory
only, up to a limit. A private address (of an office, of a proxy of ours) belongs to many people and is not counted.
"""

from collections import OrderedDict, deque
from typing import NamedTuple

from relay.attribution import request_verdict, rules

_MAX_VISITORS = 10_000
_MAX_VISITS = 200
_MOBILE = ("Mobile", "Android", "iPhone", "iPad")  # many of them share a carrier's address


class DeliveryVisit(NamedTuple):
    """A request of a visitor for a pixel or link of a delivery."""

    at_s: float
    message: str
    number: int


class MassVisitorDetector:
    """The requests of visitors in the last minute."""

    def __init__(self) -> None:
        self._visitors: OrderedDict[tuple[str, str], deque[DeliveryVisit]] = OrderedDict()
        self._longest_s = max(rule.within_s for rule in rules.load().mass_visits)

    def observe(self, address: str, agent: str, visit: DeliveryVisit) -> list[DeliveryVisit]:
        """The visitor's requests of the last minute, if they are too many for a person; else none."""
        if not request_verdict.visitor_network(address) or not agent:
            return []
        steps = self._visitors.pop((address, agent), None) or deque(maxlen=_MAX_VISITS)
        self._visitors[address, agent] = steps
        if len(self._visitors) > _MAX_VISITORS:
            self._visitors.popitem(last=False)
        while steps and steps[0].at_s < visit.at_s - self._longest_s:
            steps.popleft()
        steps.append(visit)
        factor = 2 if any(word in agent for word in _MOBILE) else 1
        for rule in rules.load().mass_visits:
            near = [one for one in steps if one.at_s >= visit.at_s - rule.within_s]
            recipients = {(one.message, one.number) for one in near}
            if len(recipients) >= rule.recipients * factor:
                # The first time all of them are returned, later only the newest.
                return near if len(recipients) == rule.recipients * factor else [visit]
        return []
