"""How often a pixel or a link was requested, by verdict."""

from typing import NamedTuple


class HitCounts(NamedTuple):
    """Hits by verdict."""

    human: int = 0
    proxied: int = 0
    machine: int = 0
    unknown: int = 0

    @property
    def total(self) -> int:
        return sum(self)
