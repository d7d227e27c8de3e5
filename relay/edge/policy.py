"""Who may do what: networks, credentials, limits. Decides and raises `Refused`; does nothing itself."""

import ipaddress
from collections import Counter

from relay import address
from relay.config.schema import Config, User
from relay.envelope import Client
from relay.reply import refused

MOST_RECEIVED = 100  # RFC 5321 §6.3


class Policy:
    """The rules of one configuration, and the connections that are open."""

    def __init__(self, config: Config) -> None:
        self._access = config.access
        self._users = {user.name: user for user in config.access.user} if config.access.auth == "users" else {}
        self._served = [upstream.senders for upstream in config.upstream]
        self._open: Counter[str] = Counter()

    # --- connections

    def enter(self, ip: str) -> None:
        """A client connects. Raises Refused, and counts it all the same: `leave` follows in any case."""
        self._open[ip] += 1
        if self._open[ip] > self._access.max_connections_per_ip:
            raise refused(421, "4.7.0", "too many connections from your address, try again later")

    def leave(self, ip: str) -> None:
        self._open[ip] -= 1
        if self._open[ip] <= 0:
            del self._open[ip]

    # --- mail

    def offers_auth(self, client: Client) -> bool:
        """AUTH is for known users, and never in clear over a network."""
        return bool(self._users) and (client.tls or _address(client.ip).is_loopback)

    def user(self, name: str) -> User | None:
        return self._users.get(name)

    def may_send(self, client: Client, reverse_path: str) -> None:
        """Raises Refused unless the client may relay mail with that reverse-path."""
        if client.user:
            user = self._users[client.user]
            if not address.matches(reverse_path, user.senders):
                raise refused(553, "5.7.1", f"{client.user} may not send as this address")
        elif not self._is_ours(client.ip):
            if self._users:
                raise refused(530, "5.7.0", "authentication required")
            raise refused(550, "5.7.1", "relaying denied: your address is not in [access] networks")
        if self._served and not any(address.matches(reverse_path, senders) for senders in self._served):
            raise refused(550, "5.7.1", "no [[upstream]] sends for this address (senders)")

    def _is_ours(self, ip: str) -> bool:
        there = _address(ip)
        return any(there in network for network in self._access.networks)

    def may_receive(self, recipients_so_far: int) -> None:
        if recipients_so_far >= self._access.max_recipients:
            raise refused(452, "4.5.3", f"too many recipients; at most {self._access.max_recipients} a message")

    def may_be_large(self, declared_octets: int) -> None:
        if declared_octets > self._access.max_size:
            raise refused(552, "5.3.4", f"message is larger than the {self._access.max_size} octets allowed here")


def _address(ip: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address; an IPv4 client on an IPv6 listener is its IPv4 self (RFC 4291 §2.5.5.2)."""
    there = ipaddress.ip_address(ip)
    return (there.ipv4_mapped or there) if isinstance(there, ipaddress.IPv6Address) else there
