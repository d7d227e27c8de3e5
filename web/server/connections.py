"""Limits on a site's connections: how many are open, by a client's network and in all, and how many come in a second.

In: connections that open, change their state, and close.  Out: whether there is room for a new one. If there is none,
the connection that has waited longest without a request is closed: an idle client can connect again, and a client that
holds many loses one of its own. The new one is refused only if all others are being answered.

An address that many people share (private or loopback, of an office or a proxy of ours) has no limit of its own.
Connections of trusted proxies count in all only; the others leave a quarter to them.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from time import monotonic
from typing import NamedTuple, Protocol

from relay import clients, ip_addresses, process_log
from relay.attribution import request_verdict
from relay.ip_addresses import IpNetwork

_MAX_BY_ADDRESS = 100  # or an eighth of all; a network has three times that
_ARRIVAL_RATE = clients.Limit(200, 1.0)  # new ones by address; wider networks have three and nine times that


class CountedConnection(Protocol):
    def drop(self) -> None:
        """Closes the connection at once."""


class _ConnectionGroup(NamedTuple):
    """Connections with a common limit, and those of them that wait for a request, the longest wait first."""

    open: set[CountedConnection]
    waiting: OrderedDict[CountedConnection, None]


def _is_public(ip: str) -> bool:
    return bool(request_verdict.visitor_network(ip))


class WebConnections:
    """The connections of one site."""

    def __init__(
        self,
        site: str,
        trusted_proxies: Sequence[IpNetwork],
        max_open: Callable[[], int],
        is_public: Callable[[str], bool] = _is_public,
        rate: clients.Limit = _ARRIVAL_RATE,
    ) -> None:
        """`max_open` is called for each connection, because the system's limit may change while we run."""
        self._site = site
        self._trusted_proxies = trusted_proxies
        self._max_open = max_open
        self._is_public = is_public
        self._groups: dict[str, _ConnectionGroup] = {}
        self._groups_of: dict[CountedConnection, tuple[str, ...]] = {}
        self._rate = rate
        self._arrivals = clients.EventCounter((rate,))

    def count_arrival(self, ip: str) -> bool:
        """Counts a new connection. False if its network opens too many in a second."""
        if self._is_trusted(ip) or not self._is_public(ip):
            return True
        now = monotonic()
        if self._arrivals.is_over(ip, now):
            process_log.too_many_connections(self._site, f"{ip}, in a second", self._rate.max_events)
            return False
        self._arrivals.count(ip, now)
        return True

    def add_connection(self, connection: CountedConnection, ip: str) -> bool:
        """Counts a connection that waits for its first request. False if there is no room for it."""
        limits = self._limits(ip)
        for key, limit in limits.items():
            while key in self._groups and len(self._groups[key].open) >= limit:
                longest = next(iter(self._groups[key].waiting), None)
                if longest is None:
                    process_log.too_many_connections(self._site, key, limit)
                    return False
                self.remove_connection(longest)
                longest.drop()
        for key in limits:
            self._groups.setdefault(key, _ConnectionGroup(set(), OrderedDict())).open.add(connection)
        self._groups_of[connection] = tuple(limits)
        self.mark_waiting(connection)
        return True

    def mark_waiting(self, connection: CountedConnection) -> None:
        """The connection waits for a request from now on."""
        for key in self._groups_of.get(connection, ()):
            self._groups[key].waiting[connection] = None

    def mark_working(self, connection: CountedConnection) -> None:
        """The connection has a request. Until that is answered, it is not closed to make room."""
        for key in self._groups_of.get(connection, ()):
            self._groups[key].waiting.pop(connection, None)

    def remove_connection(self, connection: CountedConnection) -> None:
        """The connection is closed. A second call does nothing."""
        self.mark_working(connection)
        for key in self._groups_of.pop(connection, ()):
            self._groups[key].open.discard(connection)
            if not self._groups[key].open:
                del self._groups[key]

    def _limits(self, ip: str) -> dict[str, int]:
        """The groups of that address, the narrowest first, each with its limit."""
        most = self._max_open()
        if self._is_trusted(ip):
            return {"all": most}
        limits = {"others": most * 3 // 4, "all": most}
        if not self._is_public(ip):
            return limits
        address, network, _ = clients.networks_of(ip)
        by_address = max(1, min(_MAX_BY_ADDRESS, most // 8))
        return {address: by_address, network: 3 * by_address} | limits

    def _is_trusted(self, ip: str) -> bool:
        return ip_addresses.is_in(ip, self._trusted_proxies)
