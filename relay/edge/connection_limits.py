"""The connections that are open: how many of each network, and in all.

In: the address of a client that connects, and whether it may relay.  Out: a slot, or a refusal.  A stranger counts by
its network and by two wider ones (`relay.clients`). Strangers together take at most a quarter of all places, so they
never keep out a client that may relay. The counts are in memory, for this process alone.
"""

from collections import Counter

from relay import clients
from relay.config.smtp import AccessConfig
from relay.reply import refusal


class ConnectionSlot:
    """The slot of one connection. A second `release` does nothing."""

    def __init__(self, counts: "Counter[str]", keys: tuple[str, ...], wide: tuple[str, ...]) -> None:
        self._counts = counts
        self._keys, self._wide = keys, wide
        counts.update((*keys, *wide))

    def mark_trusted(self) -> None:
        """The client may relay from now on, and no longer counts as a stranger."""
        self._decrement(self._wide)
        self._wide = ()

    def release(self) -> None:
        self._decrement((*self._keys, *self._wide))
        self._keys = self._wide = ()

    def _decrement(self, keys: tuple[str, ...]) -> None:
        for key in keys:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]


class ConnectionLimits:
    """All connections of a process."""

    def __init__(self, access: AccessConfig) -> None:
        self._max_connections = access.max_connections
        self._max_per_address = access.max_connections_per_ip
        self._counts: Counter[str] = Counter()

    def take_slot(self, ip: str, *, may_relay: bool) -> ConnectionSlot:
        """A slot for that client. Raises RefusedError if its network, or all clients together, have too many."""
        # A network that may relay is one's own: each machine there has what an address may have.
        own_network, *wide = (ip,) if may_relay else clients.networks_of(ip)
        if self._counts[own_network] >= self._max_per_address:
            raise refusal(421, "4.7.0", "too many connections from your address, try again later")
        for network, factor in zip(wide, clients.NETWORK_FACTORS[1:], strict=False):
            if self._counts[network] >= self._max_per_address * factor:
                raise refusal(421, "4.7.0", "too many connections from your network, try again later")
        is_full = self._counts[_ALL] >= self._max_connections
        if is_full or (not may_relay and self._counts[_STRANGERS] >= max(self._max_connections // 4, 1)):
            raise refusal(421, "4.3.2", "too many connections, try again later")
        return ConnectionSlot(self._counts, (own_network, _ALL), () if may_relay else (*wide, _STRANGERS))


_ALL, _STRANGERS = "all", "strangers"  # no network is called so
