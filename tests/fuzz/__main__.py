"""python -m tests.fuzz [--minutes 5] [--seed N] [DOOR …]: mutated inputs until the time is over, or one fails."""

import argparse
import hashlib
import random
import sys
import time
import traceback

from tests.fuzz import doors, mutation
from tests.fuzz.doors import Door
from tests.waypost_server import ROOT

FOUND = ROOT / "tests/fuzz/found"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=5.0, help="for all doors together (default: 5)")
    options.add_argument("--seed", type=int, default=None, help="of the generator, to see the same inputs again")
    options.add_argument("door", nargs="*")
    chosen = options.parse_args()
    seed = random.randrange(1 << 32) if chosen.seed is None else chosen.seed
    failed = 0
    with doors.open_doors() as opened:
        names = chosen.door or list(opened)
        for name in names:
            failed += not try_door(name, opened[name], chosen.minutes * 60 / len(names), seed)
    return 1 if failed else 0


def try_door(name: str, door: Door, limit_s: float, seed: int) -> bool:
    """False if an input failed; it is in FOUND then."""
    source, tried, end = random.Random(seed), 0, time.monotonic() + limit_s
    while time.monotonic() < end:
        octets = mutation.mutate(door.seeds, source)
        tried += 1
        if fails(door, octets):
            smallest = mutation.shrink(octets, lambda one: fails(door, one))
            path = FOUND / f"{name}-{hashlib.sha256(smallest).hexdigest()[:12]}"
            path.write_bytes(smallest)
            print(f"{name}: FAIL after {tried} inputs (seed {seed}): {path.relative_to(ROOT)}")
            try:
                door.check(smallest)
            except Exception:
                traceback.print_exc()
            return False
    print(f"{name}: {tried} inputs (seed {seed})")
    return True


def fails(door: Door, octets: bytes) -> bool:
    try:
        door.check(octets)
    except Exception:
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
