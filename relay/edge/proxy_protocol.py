"""The address of a client behind a load balancer: the PROXY protocol's header, versions 1 and 2.

In: a connection's first octets.  Out: the client's address. Anybody can send such a header, so it is read only on
listeners that are marked for it, and only from trusted networks.
"""

import asyncio

from aiosmtpd.proxy_protocol import V2_CMD, ProxyData, get_proxy

HEADER_S = 10.0  # a balancer sends it at once
UNKNOWN = "0.0.0.0"  # noqa: S104  a client that the header does not name: in nobody's network, and not loopback


class ProxyHeaderError(Exception):
    """The connection does not begin with a PROXY header."""


async def read_client_ip(reader: asyncio.StreamReader, peer: str) -> str:
    """The client's address. `peer` is the balancer, and the client too where the header says so (LOCAL: its own check).

    Raises ProxyHeaderError.
    """
    try:
        header: ProxyData = await get_proxy(reader)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError) as error:
        raise ProxyHeaderError("the connection ended in its header") from error
    if not header.valid:
        raise ProxyHeaderError(header.error or "no header")
    if header.version == 2 and header.command == V2_CMD.LOCAL:
        return peer
    # UNKNOWN and Unix sockets name no address. The balancer's own would be trusted, so that is not taken.
    return UNKNOWN if header.src_addr is None or isinstance(header.src_addr, bytes) else str(header.src_addr)
