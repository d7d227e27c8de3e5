"""Who is asking: a person, somebody's proxy, or a machine.

In: a request's headers and peer.  Out: a verdict with its reasons by the rules of `relay.attribution`, and
the address as far as it may be kept.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from starlette.datastructures import Headers
from starlette.requests import Request

from relay import ip_addresses
from relay.attribution import request_verdict
from relay.attribution.request_verdict import HitVerdict
from relay.config.schema import Config
from relay.edits import Kind
from relay.ip_addresses import THIS_MACHINE, IpAddress, IpNetwork

HUMAN = request_verdict.HUMAN
MAX_USER_AGENT = request_verdict.MAX_USER_AGENT  # characters that are looked at, and kept
_MAX_HOP = 80  # characters of one entry of X-Forwarded-For: an address with a zone, brackets and a port


class Visit(NamedTuple):
    """One request, as far as the rules look at it."""

    kind: Kind
    user_agent: str
    headers: Mapping[str, str]  # names in lower case


def judge_visit(visit: Visit, address: str = "") -> HitVerdict:
    """The verdict at request time; hits that come later may relabel it (`relay.attribution`)."""
    return request_verdict.judge_request(visit.user_agent, visit.headers, address, is_click=visit.kind is Kind.CLICK)


def read_visit(kind: Kind, headers: Headers) -> Visit:
    return Visit(kind, headers.get("user-agent", "").strip()[:MAX_USER_AGENT], headers)


def client_address(request: Request, trusted: Sequence[IpNetwork]) -> str:
    """The visitor's IP address; empty if there is none (a socket file)."""
    return forwarded_address(request.client.host if request.client else "", request.headers, trusted)


def forwarded_address(peer: str, headers: Headers, trusted: Sequence[IpNetwork]) -> str:
    """The address of whom `peer` speaks for: its own, or one that a trusted proxy names.

    X-Forwarded-For is believed only from trusted proxies, from the right: the first hop that is not one of
    them. What stands further left was written by anybody. X-Real-IP, nginx's field, counts where there is no
    X-Forwarded-For: a proxy that writes that one passes the other on as it came.
    """
    lines = headers.getlist("x-forwarded-for") or headers.getlist("x-real-ip")
    hops = [hop for line in lines for hop in line.split(",")]
    found = _parse_hop(peer)
    while found is not None and hops and ip_addresses.is_in(found, trusted):
        nearer = _parse_hop(hops.pop())
        if nearer is None:
            break
        found = nearer
    return str(found) if found is not None else ""


def proxies_and_loopback(config: Config) -> list[IpNetwork]:
    """Whose X-Forwarded-For is believed where wrong passwords and keys are counted: the configured proxies', and one's
    on this machine, or whoever guesses through that one would be counted as everybody behind it."""
    return [*config.tracking.trusted_proxies, *THIS_MACHINE]


def redact_ip(ip: str, how: Literal["full", "truncated", "none"]) -> str:
    """The address as it may be stored: whole, its network (/24, /48), or not at all."""
    found = _parse_hop(ip)
    if found is None or how == "none":
        return ""
    if how == "full":
        return str(found)
    return str(ip_addresses.network_around(found).network_address)


def _parse_hop(text: str) -> IpAddress | None:
    text = text.strip()
    if len(text) > _MAX_HOP:
        return None
    if with_port := re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::\d+)?|([0-9.]+):\d+", text):
        text = with_port[1] or with_port[2]
    return ip_addresses.parse_ip(text)
