"""The name by which we greet an upstream.  RFC 5321 §4.1.4, §4.1.3.

In: `[relay] hostname` and an open connection.  Out: a fully qualified name, or else the address literal of our end of
the connection: many servers refuse `EHLO localhost`, some with a reply that reads as if a recipient were unknown.
"""

import asyncio
import re
import socket
from functools import cache

from relay import ip_addresses

_QUALIFIED = re.compile(r"(?!localhost\b)[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})++\.?", re.IGNORECASE)
_NO_NAMES = (".localdomain", ".localhost")


def is_qualified(hostname: str) -> bool:
    """True for a name or an address literal that the world takes in EHLO."""
    if hostname.startswith("["):
        return True
    bare = hostname.rstrip(".").lower()
    return (
        bool(_QUALIFIED.fullmatch(hostname)) and not bare.endswith(_NO_NAMES) and not bare.replace(".", "").isdecimal()
    )


async def ehlo_name(hostname: str, transport: asyncio.BaseTransport | None) -> str:
    """The configured name if it is qualified, else this machine's, else the address literal."""
    if is_qualified(hostname):
        return hostname
    name = await asyncio.to_thread(machine_name)  # it may ask the DNS, once
    ours = transport.get_extra_info("sockname") if transport is not None else None
    return name or (_literal(str(ours[0])) if isinstance(ours, tuple) else hostname)


@cache
def machine_name() -> str:
    """This machine's name if it is qualified; else empty."""
    name = socket.getfqdn()
    return name if is_qualified(name) and not name.startswith("[") else ""


def _literal(ip: str) -> str:
    address = ip_addresses.parse_ip(ip)
    return f"[IPv6:{address}]" if address and address.version == 6 else f"[{address or ip}]"
