"""Reads `rules.toml`, once.  In: the file beside this one.  Out: compiled patterns, networks and numbers.

It is read when the first rule is needed, because most commands judge nothing. A fault in the file is a fault of ours
and raises then: a test reads it.
"""

import math
import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from relay import ip_addresses
from relay.ip_addresses import IpNetwork

Pattern = re.Pattern[str]


class BrowserVersions(NamedTuple):
    """Browsers by their version, the pattern's only group."""

    agent: Pattern
    min_version: int
    max_version: int
    unless: Pattern | None = None
    platform: Pattern | None = None


class ScannerNetworks(NamedTuple):
    """A scanner's networks."""

    name: str
    networks: tuple[IpNetwork, ...]
    clicks_only: bool


class MassVisitRule(NamedTuple):
    """How many recipients in how long are more than one person's."""

    recipients: int
    within_s: float


class SweepRule(NamedTuple):
    """How many links in how long are more than a reader's, so long after the delivery."""

    links: int
    within_s: float
    delivered_s: float


class ProxyRule(NamedTuple):
    """An image proxy, by its name."""

    reason: str
    agent: Pattern
    unless: Pattern | None


class Rules(NamedTuple):
    """What the file says, in its order."""

    proxies: list[ProxyRule]
    prefetchers: list[tuple[str, Pattern]]  # the reason, and the agent
    headers: Mapping[str, str]
    scanners: list[tuple[str, Pattern]]  # the name, and the agent
    people: Pattern
    obsolete: list[BrowserVersions]
    impossible: list[BrowserVersions]
    networks: list[ScannerNetworks]
    hosting: list[IpNetwork]
    sweeps: list[SweepRule]
    mass_visits: list[MassVisitRule]
    timing: SimpleNamespace


@cache
def load() -> Rules:
    """The rules, read at the first call."""
    data: dict[str, Any] = tomllib.loads(Path(__file__).with_name("rules.toml").read_text("utf-8"))  # Any: TOML
    return Rules(
        proxies=[
            ProxyRule(row["reason"], _pattern(row["agent"]), _pattern(row["unless"]) if "unless" in row else None)
            for row in data["proxy"]
        ],
        prefetchers=[(row["reason"], _pattern(row["agent"])) for row in data["prefetch"]],
        headers=data["headers"],
        scanners=[(name, _pattern(text)) for name, text in data["scanners"].items()],
        people=_pattern(data["programs"]["people"]),
        obsolete=[
            BrowserVersions(_pattern(row["agent"]), row["oldest"], 1 << 30, _pattern(row["unless"]))
            for row in data["obsolete"]
        ],
        impossible=[
            BrowserVersions(_pattern(row["agent"]), 0, row["latest"], platform=_pattern(row["platform"]))
            for row in data["impossible"]
        ],
        networks=[
            ScannerNetworks(
                row["name"], tuple(map(ip_addresses.parse_network, row["networks"])), row.get("clicks_only", False)
            )
            for row in data["network"]
        ],
        hosting=[ip_addresses.parse_network(text) for text in data["hosting"]["networks"]],
        sweeps=[SweepRule(row["links"], row["within_s"], row.get("delivered_s", math.inf)) for row in data["sweep"]],
        mass_visits=[MassVisitRule(row["recipients"], row["within_s"]) for row in data["many"]],
        timing=SimpleNamespace(**data["timing"]),
    )


def _pattern(text: str) -> Pattern:
    return re.compile(text, re.IGNORECASE)
