"""Facts that were committed just now, for the case that the database's file turns out to be damaged.

Commits into a damaged file succeed until a connection meets a bad page, and they are lost when a backup replaces the
file. For as long as that may take, the facts that we have answered for are kept here: mail, results, a recipient's
wishes.
"""

import threading
import time
from collections import deque
from typing import Any, NamedTuple

_MAX_AGE_S = 10.0  # within this time a bad page is met: the queue is read each second, and much else with each mail
_MAX_OCTETS = 16 << 20  # at 900 mails of 2 KB a second: the latest three seconds, in which each mail reads the file
_OCTETS_OF_OBJECTS = 4 << 10  # of memory that a fact takes besides its mail


class _RecentFact(NamedTuple):
    at_s: float
    name: str
    value: Any  # as in journal.Fact
    octets: int  # of memory


class RecentFacts:
    """Its methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._facts: deque[_RecentFact] = deque()
        self._octets = 0

    def add(self, name: str, value: Any, octets: int) -> None:  # Any: as above
        """`octets`: the size of the mail in it."""
        now = time.monotonic()
        octets += _OCTETS_OF_OBJECTS
        with self._lock:
            self._facts.append(_RecentFact(now, name, value, octets))
            self._octets += octets
            while self._octets > _MAX_OCTETS or self._facts[0].at_s < now - _MAX_AGE_S:
                self._octets -= self._facts.popleft().octets
                if not self._facts:
                    break

    def take(self) -> list[tuple[str, Any]]:  # Any: as above
        """Returns all facts, in order, and forgets them."""
        with self._lock:
            facts, self._octets = [(one.name, one.value) for one in self._facts], 0
            self._facts.clear()
        return facts
