"""Which IP addresses are anybody's on the Internet, and which are of a network's inside.

In: a host and a port that somebody chose who may not reach the inside.  Out: addresses to connect to. Whoever asks
connects to these and does not look the name up again, for the next answer may be another (DNS rebinding).
"""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_OF_NETWORKS = (
    # RFC 6890 §2.2.2 sets the whole block aside. Python below 3.13 takes most of it as global, and a provider had its
    # machines' credentials at 192.0.0.192.
    ipaddress.IPv4Network("192.0.0.0/24"),
    ipaddress.IPv4Network("168.63.129.16/32"),  # Azure's own host, to each of its machines
)
# RFC 4291 §2.4: what is outside of it is local, multicast, a form of IPv4, or nobody's.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1
_TEREDO = ipaddress.IPv6Network("2001::/32")  # RFC 4380: the relay's own, or whatever lies behind it


class NotPublicError(ConnectionError):
    """The host has an address inside the network. The text names it, and the key that could allow it."""


def is_public(address: Address) -> bool:
    """True if the address is of the public Internet, also where it carries an IPv4 address in it."""
    if isinstance(address, ipaddress.IPv4Address):
        if any(address in network for network in _OF_NETWORKS):
            return False
        return address.is_global and not address.is_multicast
    if inner := _embedded_ipv4(address):
        return is_public(inner)
    return address in _GLOBAL_UNICAST and address not in _TEREDO and address.is_global


async def resolve_public(host: str, port: int, allowed: Sequence[Network]) -> list[Address]:
    """The host's addresses, all of them public or in an allowed network.

    Raises NotPublicError if one is neither, and OSError if there is no such host.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [_read(str(place[0])) for *_, place in found]
    for address in addresses:
        if not is_public(address) and not _is_allowed(address, allowed):
            named = f"{host} is" if host == str(address) else f"{host} is at {address},"
            raise NotPublicError(
                f"{named} no public address; webhooks of the console and the API reach the networks in "
                "[webhooks] allow_networks only"
            )
    return list(dict.fromkeys(addresses))


def _embedded_ipv4(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address.ipv4_mapped or address.sixtofour:  # RFC 4291 §2.5.5.2, RFC 3056 §2
        return address.ipv4_mapped or address.sixtofour
    return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF) if address in _NAT64 else None


def _is_allowed(address: Address, allowed: Sequence[Network]) -> bool:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return any((mapped or address) in network for network in allowed)


def _read(text: str) -> Address:
    return ipaddress.ip_address(text.partition("%")[0])
