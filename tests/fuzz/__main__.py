"""python -m tests.fuzz [--minutes 5] [--seed N] [ENTRY_POINT …]: mutated inputs until the time is over, or one fails."""

import argparse
import hashlib
import random
import sys
import time
import traceback

from tests.fuzz import entry_points, mutation
from tests.fuzz.entry_points import EntryPoint
from tests.waypost_server import ROOT

FAILED_INPUTS = ROOT / "tests/fuzz/found"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=5.0, help="for all entry points together (default: 5)")
    options.add_argument("--seed", type=int, default=None, help="of the generator, to see the same inputs again")
    options.add_argument("entry_point", nargs="*")
    chosen = options.parse_args()
    seed = random.randrange(1 << 32) if chosen.seed is None else chosen.seed
    failed = 0
    with entry_points.open_entry_points() as opened:
        names = chosen.entry_point or list(opened)
        for name in names:
            failed += not try_entry_point(name, opened[name], chosen.minutes * 60 / len(names), seed)
    return 1 if failed else 0


def try_entry_point(name: str, entry_point: EntryPoint, limit_s: float, seed: int) -> bool:
    """False if an input failed; it is in FAILED_INPUTS then."""
    source, tried, end = random.Random(seed), 0, time.monotonic() + limit_s
    while time.monotonic() < end:
        octets = mutation.mutate(entry_point.seeds, source)
        tried += 1
        if fails(entry_point, octets):
            smallest = mutation.shrink(octets, lambda one: fails(entry_point, one))
            path = FAILED_INPUTS / f"{name}-{hashlib.sha256(smallest).hexdigest()[:12]}"
            path.write_bytes(smallest)
            print(f"{name}: FAIL after {tried} inputs (seed {seed}): {path.relative_to(ROOT)}")
            try:
                entry_point.check(smallest)
            except Exception:
                traceback.print_exc()
            return False
    print(f"{name}: {tried} inputs (seed {seed})")
    return True


def fails(entry_point: EntryPoint, octets: bytes) -> bool:
    try:
        entry_point.check(octets)
    except Exception:
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
