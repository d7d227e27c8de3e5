"""The connections that are open: how many of each network, and in all.

In: the address of a client that connects, and whether it may relay.  Out: a Place, or a refusal.  A stranger counts by
its network and by two wider ones (`relay.clients`), and strangers together take at most a quarter of all places:
whoever fills them keeps no client out that may relay. In memory, of this process alone.
"""

from collections import Counter

from relay import clients
from relay.config.smtp import AccessConfig
from relay.reply import refusal


class Place:
    """What one connection takes. `leave` gives it back; twice is once."""

    def __init__(self, counts: "Counter[str]", keys: tuple[str, ...], wide: tuple[str, ...]) -> None:
        self._counts = counts
        self._keys, self._wide = keys, wide
        counts.update((*keys, *wide))

    def trust(self) -> None:
        """The client may relay from now on: it takes none of the strangers' places any more."""
        self._give_back(self._wide)
        self._wide = ()

    def leave(self) -> None:
        self._give_back((*self._keys, *self._wide))
        self._keys = self._wide = ()

    def _give_back(self, keys: tuple[str, ...]) -> None:
        for key in keys:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]


class Connections:
    """All places of a process."""

    def __init__(self, access: AccessConfig) -> None:
        self._most = access.max_connections
        self._most_of_one = access.max_connections_per_ip
        self._counts: Counter[str] = Counter()

    def enter(self, ip: str, *, may_relay: bool) -> Place:
        """A place for that client. Raises RefusedError where its network, or everybody, has too many."""
        # A network that may relay is one's own: each machine there has what an address may have.
        own, *wide = (ip,) if may_relay else clients.networks_of(ip)
        if self._counts[own] >= self._most_of_one:
            raise refusal(421, "4.7.0", "too many connections from your address, try again later")
        for network, factor in zip(wide, clients.NETWORK_FACTORS[1:], strict=False):
            if self._counts[network] >= self._most_of_one * factor:
                raise refusal(421, "4.7.0", "too many connections from your network, try again later")
        is_full = self._counts[_ALL] >= self._most
        if is_full or (not may_relay and self._counts[_STRANGERS] >= max(self._most // 4, 1)):
            raise refusal(421, "4.3.2", "too many connections, try again later")
        return Place(self._counts, (own, _ALL), () if may_relay else (*wide, _STRANGERS))


_ALL, _STRANGERS = "all", "strangers"  # no network is called so
