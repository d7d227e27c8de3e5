"""Prints how many patterns there are, how long all take, and which are superlinear."""

import time

from tests.patterns import inventory, pumping

pattern_inventory = inventory.take()
took: dict[str, float] = {}
for one in pattern_inventory.patterns:
    begun = time.thread_time()
    if proof := pumping.superlinear(one.pattern, one.ways):
        print(f"superlinear: {one.place} {one.pattern.pattern!r} {proof}")
    took[one.place] = time.thread_time() - begun
slowest = sorted(took, key=lambda place: -took[place])[:5]
print(f"{len(pattern_inventory.patterns)} patterns, {sum(took.values()):.1f} s; most of it: {', '.join(slowest)}")
