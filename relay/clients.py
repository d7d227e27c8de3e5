"""What clients did lately, by their networks: connections, mistakes, wrong passwords, reports, wrong tokens.

Pure: the time is an argument, in seconds of any clock that does not go back. Memory is bounded: where there are too
many networks, those that were counted the longest ago are dropped.
"""

from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from relay import ip_addresses

MAX_NETWORKS = 30_000  # remembered for each limit
MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86400.0
# One network may do what its limit says, the next wider one three times that, the widest nine times.
_IPV4, _IPV6 = (32, 24, 21), (64, 48, 32)
NETWORK_FACTORS = (1, 3, 9)


class Limit(NamedTuple):
    """At most that many in a window of time, by one address."""

    max_events: int
    window_s: float


@lru_cache(4096)
def networks_of(ip: str) -> tuple[str, ...]:
    """The address's own network and two wider ones: /32, /24, /21; of IPv6, where a client has a /64, /64, /48, /32.

    Raises ValueError if it is no address.
    """
    address = ip_addresses.parse_ip(ip)
    if address is None:
        raise ValueError(f"{ip!r} is no IP address")
    number, bits = int(address), address.max_prefixlen
    return tuple(
        f"{type(address)(number >> (bits - prefix) << (bits - prefix))}/{prefix}"
        for prefix in (_IPV4 if bits == 32 else _IPV6)
    )


class EventCounter:
    """Counts one kind of event, by network or by any other key."""

    def __init__(self, limits: Sequence[Limit], max_networks: int = MAX_NETWORKS) -> None:
        self._limits = tuple(limits)
        self._max = max_networks
        # Of each limit: the window's number and the events in it, the key that was counted last at the end.
        self._counts: list[OrderedDict[str, tuple[int, int]]] = [OrderedDict() for _ in self._limits]

    def count(self, ip: str, now: float, amount: int = 1) -> None:
        """One more event of that address, or more of whatever is counted."""
        for network in networks_of(ip):
            self.count_key(network, now, amount)

    def take_back(self, ip: str, now: float) -> None:
        """Undoes a `count` of that time: there was no such event after all."""
        for network in networks_of(ip):
            self.take_back_key(network, now)

    def is_over(self, ip: str, now: float) -> bool:
        """True if the address, or a network that it is in, has reached its limit."""
        return self.wait_s(ip, now) > 0

    def wait_s(self, ip: str, now: float) -> float:
        """How long it is until the address may have more; 0 if it may now."""
        return max(
            self.key_wait_s(network, now, factor)
            for network, factor in zip(networks_of(ip), NETWORK_FACTORS, strict=True)
        )

    def count_key(self, key: str, now: float, amount: int = 1) -> None:
        for limit, counts in zip(self._limits, self._counts, strict=True):
            window = int(now // limit.window_s)
            counts[key] = (window, self._in_window(counts, key, window) + amount)
            counts.move_to_end(key)
            if len(counts) > self._max:
                counts.popitem(last=False)

    def take_back_key(self, key: str, now: float) -> None:
        for limit, counts in zip(self._limits, self._counts, strict=True):
            window = int(now // limit.window_s)
            if in_window := self._in_window(counts, key, window):
                counts[key] = (window, in_window - 1)

    def is_key_over(self, key: str, now: float, factor: int = 1) -> bool:
        return self.key_wait_s(key, now, factor) > 0

    def key_wait_s(self, key: str, now: float, factor: int = 1) -> float:
        waits = [
            limit.window_s - now % limit.window_s
            for limit, counts in zip(self._limits, self._counts, strict=True)
            if self._in_window(counts, key, int(now // limit.window_s)) >= limit.max_events * factor
        ]
        return max(waits, default=0.0)

    @staticmethod
    def _in_window(counts: OrderedDict[str, tuple[int, int]], key: str, window: int) -> int:
        known = counts.get(key)
        return known[1] if known and known[0] == window else 0


def report_reading_limit() -> EventCounter:
    """Milliseconds of processor time for reports: a minute an hour by address. A report takes some five."""
    return EventCounter((Limit(60_000, HOUR_S),))


def failed_login_limit() -> EventCounter:
    """Ten wrong passwords a minute and fifty a day by address, as mox has it."""
    return EventCounter((Limit(10, MINUTE_S), Limit(50, DAY_S)))
