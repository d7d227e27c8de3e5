"""One request, by what it says of itself.

In: what was asked for, the User-Agent, headers and address.  Out: a verdict with its reasons. When in doubt about a
named browser it is a person; `delivery_verdict` may relabel.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from relay import ip_addresses
from relay.attribution import rules
from relay.hit_verdict import HUMAN, MACHINE, PROXIED, UNKNOWN

PREFETCH = "prefetch"
NETWORK_PREFIX = "scanner_network:"
# What stands in requests is bounded before a pattern looks at it and before a cache keeps it.
MAX_USER_AGENT = 512  # characters

# Carriers' and offices' inner addresses, and our own: many people, or a proxy that keeps the visitor's to itself.
_SHARED_NETWORKS = [
    ip_addresses.parse_network(text)
    for text in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10")
] + [ip_addresses.parse_network(text) for text in ("::1/128", "fc00::/7", "fe80::/10")]


class HitVerdict(NamedTuple):
    """What we take a visitor for, and by which rules."""

    verdict: str
    reasons: tuple[str, ...] = ()


def judge_request(agent: str, headers: Mapping[str, str], address: str, *, is_click: bool) -> HitVerdict:
    """The verdict on a request. Header names are in lower case."""
    return judge_user_agent(
        agent, (*_prefetch_reasons(headers), *_scanner_reasons(address, is_click)), is_click=is_click
    )


def persistent_reasons(reasons: Iterable[str]) -> tuple[str, ...]:
    """Those of an event's reasons that came from what is not kept: headers, and the whole address."""
    return tuple(reason for reason in reasons if reason == PREFETCH or reason.startswith(NETWORK_PREFIX))


def judge_user_agent(agent: str, lasting_reasons: tuple[str, ...] = (), *, is_click: bool) -> HitVerdict:
    """The verdict on a User-Agent (its first MAX_USER_AGENT characters), with what else is known of the request.

    Image proxies do not follow links for people: what clicks under a proxy's name is a machine.
    """
    return _judge_agent(agent.strip()[:MAX_USER_AGENT], lasting_reasons, is_click)


@lru_cache(maxsize=4096)
def _judge_agent(agent: str, lasting_reasons: tuple[str, ...], is_click: bool) -> HitVerdict:
    known = rules.load()
    proxies = tuple(
        reason
        for reason, pattern, unless in known.proxies
        if pattern.search(agent) and not (unless and unless.search(agent))
    )[:1]
    if proxies and not is_click and PREFETCH not in lasting_reasons:
        return HitVerdict(PROXIED, proxies)
    early = tuple(reason for reason, pattern in known.prefetchers if pattern.fullmatch(agent))
    scanner = [f"scanner:{name}" for name, pattern in known.scanners if pattern.search(agent)][:1]
    machine = (*early, *scanner, *lasting_reasons)
    if not machine and not proxies:
        machine = _version_reasons(agent)
    if machine or proxies:
        return HitVerdict(MACHINE, (*proxies, *machine))
    if not agent:
        return HitVerdict(UNKNOWN, ("no_user_agent",))
    if not known.people.search(agent):
        return HitVerdict(MACHINE if is_click else UNKNOWN, ("no_browser",))
    return HitVerdict(HUMAN)


def visitor_network(address: str) -> str:
    """The network that an address belongs to (/24, /48); empty if it tells nobody apart from others."""
    return _visitor_network(address) if len(address) <= ip_addresses.MAX_TEXT else ""


@lru_cache(maxsize=4096)
def _visitor_network(address: str) -> str:
    found = ip_addresses.parse_ip(address)
    if found is None or ip_addresses.is_in(found, _SHARED_NETWORKS):
        return ""
    return str(ip_addresses.network_around(found))


def is_hosted(address: str) -> bool:
    """Whether it is a data centre's, where programs live and people seldom."""
    return len(address) <= ip_addresses.MAX_TEXT and _is_hosted(address)


@lru_cache(maxsize=4096)
def _is_hosted(address: str) -> bool:
    return ip_addresses.is_in(address, rules.load().hosting)


def _prefetch_reasons(headers: Mapping[str, str]) -> tuple[str, ...]:
    is_ahead = any(value in headers.get(name, "").lower() for name, value in rules.load().headers.items())
    return (PREFETCH,) if is_ahead else ()


def _scanner_reasons(address: str, is_click: bool) -> tuple[str, ...]:
    return _networks_of_scanners(address, is_click) if len(address) <= ip_addresses.MAX_TEXT else ()


@lru_cache(maxsize=4096)
def _networks_of_scanners(address: str, is_click: bool) -> tuple[str, ...]:
    found = ip_addresses.parse_ip(address)
    if found is None:
        return ()
    names = (
        one.name
        for one in rules.load().networks
        if (is_click or not one.clicks_only) and ip_addresses.is_in(found, one.networks)
    )
    return tuple(NETWORK_PREFIX + name for name in names)[:1]


def _version_reasons(agent: str) -> tuple[str, ...]:
    for reason, known in (("obsolete_browser", rules.load().obsolete), ("impossible_browser", rules.load().impossible)):
        for one in known:
            found = one.agent.search(agent)
            if (
                found
                and not one.min_version <= int(found[1]) <= one.max_version
                and not (one.unless and one.unless.search(agent))
                and (one.platform is None or one.platform.search(agent))
            ):
                return (reason,)
    return ()
