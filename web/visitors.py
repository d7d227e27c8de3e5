"""Judges who makes a request: a person, the proxy of a mail provider, or a machine.

In: a request's headers and peer.  Out: a verdict with its reasons by the rules of `relay.attribution`, and the
visitor's address, as much of it as may be stored.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Scope

from relay import ip_addresses
from relay.attribution import request_verdict
from relay.attribution.request_verdict import HitVerdict
from relay.config.schema import Config
from relay.edits import Kind
from relay.ip_addresses import THIS_MACHINE, IpAddress, IpNetwork

MAX_USER_AGENT = request_verdict.MAX_USER_AGENT  # characters that are read, and stored
_MAX_HOP = 80  # characters of one entry of X-Forwarded-For: an address with a zone, brackets and a port


class Visit(NamedTuple):
    """The parts of a request that the rules need."""

    kind: Kind
    user_agent: str
    headers: Mapping[str, str]  # names in lower case


def judge_visit(visit: Visit, address: str = "") -> HitVerdict:
    """The verdict on the request alone; hits that come later may change it (`relay.attribution`)."""
    return request_verdict.judge_request(visit.user_agent, visit.headers, address, is_click=visit.kind is Kind.CLICK)


def header_map(scope: Scope) -> dict[str, str]:
    """The header fields by name, in lower case. Of fields of one name it has the first."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}


def read_visit(kind: Kind, headers: Mapping[str, str]) -> Visit:
    return Visit(kind, headers.get("user-agent", "").strip()[:MAX_USER_AGENT], headers)


def client_address(request: Request, trusted_proxies: Sequence[IpNetwork]) -> str:
    """The visitor's IP address; empty if there is none (a socket file)."""
    return scope_address(request.scope, trusted_proxies)


def scope_address(scope: Scope, trusted_proxies: Sequence[IpNetwork]) -> str:
    """The same for an ASGI scope."""
    client = scope.get("client")
    return forwarded_address(client[0] if client else "", Headers(scope=scope), trusted_proxies)


def forwarded_address(peer: str, headers: Headers, trusted_proxies: Sequence[IpNetwork]) -> str:
    """The client's address: that of `peer`, or the one that a trusted proxy names.

    X-Forwarded-For is believed only from trusted proxies. It is read from the right, up to the first hop that is not
    one of them; anybody could have written what is further left. X-Real-IP, nginx's field, counts only if there is no
    X-Forwarded-For: a proxy that writes the latter passes on an X-Real-IP as it came.
    """
    found = _parse_hop(peer)
    if found is None or not ip_addresses.is_in(found, trusted_proxies):
        return _text_of(found)
    lines = headers.getlist("x-forwarded-for") or headers.getlist("x-real-ip")
    hops = [hop for line in lines for hop in line.split(",")]
    while hops and ip_addresses.is_in(found, trusted_proxies):
        nearer = _parse_hop(hops.pop())
        if nearer is None:
            break
        found = nearer
    return _text_of(found)


def proxies_and_loopback(config: Config) -> list[IpNetwork]:
    """Networks whose X-Forwarded-For is believed when wrong passwords and keys are counted: the configured proxies, and
    this machine. Otherwise one guesser behind a proxy on this machine would lock out everybody behind it."""
    return [*config.tracking.trusted_proxies, *THIS_MACHINE]


def redact_ip(ip: str, mode: Literal["full", "truncated", "none"]) -> str:
    """The address as it may be stored: in full, as its network (/24, /48), or not at all."""
    found = _parse_hop(ip)
    if found is None or mode == "none":
        return ""
    if mode == "full":
        return _text_of(found)
    return _network_text(found)


# A visitor makes several requests, and each needs these texts more than once; str() of an address takes 10 µs.


@lru_cache(maxsize=4096)
def _text_of(address: IpAddress | None) -> str:
    return str(address) if address is not None else ""


@lru_cache(maxsize=4096)
def _network_text(address: IpAddress) -> str:
    return str(ip_addresses.network_around(address).network_address)


def _parse_hop(text: str) -> IpAddress | None:
    return _parse_short_hop(text) if len(text) <= _MAX_HOP else None


@lru_cache(maxsize=4096)
def _parse_short_hop(text: str) -> IpAddress | None:
    text = text.strip()
    if with_port := re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::\d+)?|([0-9.]+):\d+", text):
        text = with_port[1] or with_port[2]
    return ip_addresses.parse_ip(text)
