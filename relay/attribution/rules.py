"""Reads `rules.toml`, once.  In: the file beside this one.  Out: compiled patterns, networks and numbers.

A fault in the file is a fault of ours and raises at import: a test reads it.
"""

import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from relay import ip_addresses
from relay.ip_addresses import IpNetwork

Pattern = re.Pattern[str]

_DATA: dict[str, Any] = tomllib.loads(Path(__file__).with_name("rules.toml").read_text("utf-8"))  # Any: TOML


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


def _pattern(text: str) -> Pattern:
    return re.compile(text, re.IGNORECASE)


def _reason_patterns(rows: list[Mapping[str, str]]) -> list[tuple[str, Pattern]]:
    return [(row["reason"], _pattern(row["agent"])) for row in rows]


PROXIES = [
    (row["reason"], _pattern(row["agent"]), _pattern(row["unless"]) if "unless" in row else None)
    for row in _DATA["proxy"]
]
PREFETCHERS = _reason_patterns(_DATA["prefetch"])
HEADERS: Mapping[str, str] = _DATA["headers"]
SCANNERS = [(name, _pattern(text)) for name, text in _DATA["scanners"].items()]
PEOPLE = _pattern(_DATA["programs"]["people"])
OBSOLETE = [
    BrowserVersions(_pattern(row["agent"]), row["oldest"], 1 << 30, _pattern(row["unless"]))
    for row in _DATA["obsolete"]
]
IMPOSSIBLE = [
    BrowserVersions(_pattern(row["agent"]), 0, row["latest"], platform=_pattern(row["platform"]))
    for row in _DATA["impossible"]
]
NETWORKS = [
    ScannerNetworks(row["name"], tuple(map(ip_addresses.parse_network, row["networks"])), row.get("clicks_only", False))
    for row in _DATA["network"]
]
HOSTING = [ip_addresses.parse_network(text) for text in _DATA["hosting"]["networks"]]
SWEEP_RULES = [SweepRule(row["links"], row["within_s"], row.get("delivered_s", math.inf)) for row in _DATA["sweep"]]
MASS_VISIT_RULES = [MassVisitRule(row["recipients"], row["within_s"]) for row in _DATA["many"]]
TIMING = SimpleNamespace(**_DATA["timing"])
