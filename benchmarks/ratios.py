"""A ratio to a peer over several rounds, as the tables show it."""

import statistics
from collections.abc import Iterable


def with_spread(ratios: Iterable[float]) -> str:
    """Their median, and the lowest and the highest: `1.05 (0.98–1.11)`."""
    found = sorted(ratios)
    return f"{statistics.median(found):.2f} ({found[0]:.2f}–{found[-1]:.2f})"
