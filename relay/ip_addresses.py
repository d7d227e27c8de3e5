"""IP addresses and networks as text, read in one way everywhere.

In: what a socket, a header field or a configuration says.  Out: addresses and networks of the standard library. A zone
("%eth0", RFC 4007 §11) is left out. An IPv4 address that is mapped into IPv6 (RFC 4291 §2.5.5.2) is its IPv4 self: a
listener for both shows it so.
"""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_TEXT = 64  # characters; the longest IPv6 address has 45, a zone some more
THIS_MACHINE: tuple[IpNetwork, ...] = (ipaddress.IPv4Network("127.0.0.0/8"), ipaddress.IPv6Network("::1/128"))
# A network of one visitor or one office, as it is usually assigned.
_IPV4_PREFIX, _IPV6_PREFIX = 24, 48


def parse_ip(text: str) -> IpAddress | None:
    """An IP address; None for anything else."""
    text = text.strip()
    return _parse_short(text) if len(text) <= MAX_TEXT else None


@lru_cache(maxsize=4096)
def _parse_short(text: str) -> IpAddress | None:
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None) or found


def parse_network(text: str) -> IpNetwork:
    """`10.0.0.0/8`, `10.1.2.3/8` (the same), `::1`. Raises ValueError."""
    return ipaddress.ip_network(text.strip(), strict=False)


def is_in(ip: str | IpAddress | None, networks: Iterable[IpNetwork]) -> bool:
    """True if the address is in one of the networks; text that is no address is in none."""
    address = parse_ip(ip) if isinstance(ip, str) else ip
    return address is not None and any(address in network for network in networks)


def network_around(address: IpAddress) -> IpNetwork:
    """The /24 (IPv4) or /48 (IPv6) that the address is in."""
    return ipaddress.ip_network((address, _IPV4_PREFIX if address.version == 4 else _IPV6_PREFIX), strict=False)


def is_loopback_host(host: str) -> bool:
    """True for `localhost` and for an address that only this machine reaches."""
    if host == "localhost":
        return True
    address = parse_ip(host)
    return address is not None and address.is_loopback
