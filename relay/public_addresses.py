"""Which IP addresses belong to the public Internet. All others are inside a network.

In: a host and a port from somebody who may not reach the inside.  Out: addresses to connect to. The caller connects to
these and does not look the name up again: the next answer could be another one (DNS rebinding).
"""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence

from relay import ip_addresses
from relay.ip_addresses import IpAddress, IpNetwork

_NOT_GLOBAL = (
    # RFC 6890 §2.2.2 sets the whole block aside. Python below 3.13 takes most of it as global, and a provider had its
    # machines' credentials at 192.0.0.192.
    ipaddress.IPv4Network("192.0.0.0/24"),
    ipaddress.IPv4Network("168.63.129.16/32"),  # Azure's host, as its virtual machines see it
)
# RFC 4291 §2.4: an address outside of it is local, multicast, a form of IPv4, or not assigned.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1
_TEREDO = ipaddress.IPv6Network("2001::/32")  # RFC 4380: it leads to this machine, or to one behind it


class NotPublicError(ConnectionError):
    """The host has an address inside the network. The text names it, and the key that could allow it."""


def is_public(address: IpAddress) -> bool:
    """True if the address belongs to the public Internet. If an IPv4 address is embedded in it, that one counts."""
    if isinstance(address, ipaddress.IPv4Address):
        if ip_addresses.is_in(address, _NOT_GLOBAL):
            return False
        return address.is_global and not address.is_multicast
    if inner := _embedded_ipv4(address):
        return is_public(inner)
    return address in _GLOBAL_UNICAST and address not in _TEREDO and address.is_global


async def resolve_public(host: str, port: int, allowed: Sequence[IpNetwork]) -> list[IpAddress]:
    """The host's addresses, all of them public or in an allowed network.

    Raises NotPublicError if one is neither, and OSError if there is no such host.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [address for *_, place in found if (address := ip_addresses.parse_ip(str(place[0])))]
    for address in addresses:
        if not is_public(address) and not ip_addresses.is_in(address, allowed):
            subject = f"{host} is" if host == str(address) else f"{host} is at {address},"
            raise NotPublicError(
                f"{subject} no public address; webhooks of the console and the API reach the networks in "
                "[webhooks] allow_networks only"
            )
    return list(dict.fromkeys(addresses))


def _embedded_ipv4(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address.ipv4_mapped or address.sixtofour:  # RFC 4291 §2.5.5.2, RFC 3056 §2
        return address.ipv4_mapped or address.sixtofour
    return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF) if address in _NAT64 else None
