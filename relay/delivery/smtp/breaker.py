"""A circuit breaker: when an upstream counts as down, and when to probe it. Decides; does nothing.

In: how connections ended.  Out: whether mail is tried, and how long to wait before the next probe.
Refused credentials open it at once and are probed seldom: repeated attempts lock accounts.
"""

from datetime import datetime

from relay import backoff

FIRST_PROBE_S, LAST_PROBE_S = 1.0, 60.0
FIRST_LOGIN_S, LAST_LOGIN_S = 30.0, 600.0
_JITTER = 0.2  # to either side


class Breaker:
    """The breaker of one upstream. Closed: mail is sent. Open: mail waits, and probes find out when it can be sent."""

    def __init__(self, max_outages: int) -> None:
        self._max_outages = max_outages  # outages in a row
        self._outages = 0
        self._probes = 0
        self._is_login = False
        self.fault = ""  # the last one
        self.open_since: datetime | None = None  # open since then

    @property
    def is_open(self) -> bool:
        return self.open_since is not None

    def record_failure(self, fault: str, now: datetime, *, is_login: bool = False) -> bool:
        """Records an outage. True if it opened the breaker."""
        self.fault = fault
        self._outages += 1
        self._is_login = is_login
        if self.is_open or not (is_login or self._outages >= self._max_outages):
            return False
        self.open_since, self._probes = now, 0
        return True

    def open(self, fault: str, now: datetime) -> bool:
        """Opens it at once. True if it was closed."""
        if self.is_open:
            return False
        self.fault, self.open_since, self._probes, self._is_login = fault, now, 0, False
        return True

    def record_success(self) -> bool:
        """Records a connection that was opened. True if that closed the breaker."""
        was_open = self.is_open
        self._outages, self.open_since, self.fault = 0, None, ""
        return was_open

    def next_probe_s(self, jitter: float) -> float:
        """How long to wait before the next probe: twice as long each time, within limits. `jitter` is in 0…1."""
        first, last = (FIRST_LOGIN_S, LAST_LOGIN_S) if self._is_login else (FIRST_PROBE_S, LAST_PROBE_S)
        wait_s = backoff.double(first, self._probes, last)
        self._probes += 1
        return backoff.vary(wait_s, _JITTER, jitter)
