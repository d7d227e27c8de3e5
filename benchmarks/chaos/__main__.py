"""Runs rows and prints the table."""

import argparse
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.chaos import crowds, databases, processes, upstreams

ROWS: dict[str, Callable[[], None]] = {**processes.ROWS, **upstreams.ROWS, **databases.ROWS, **crowds.ROWS}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--list", action="store_true", help="the names of the rows")
    parser.add_argument(
        "--rows", default=",".join(ROWS), help="names, with commas between (default: all, some 45 minutes)"
    )
    chosen = parser.parse_args()
    if chosen.list:
        print("\n".join(ROWS))
        return 0
    print(
        "| fault (mode) | sent | 250 | lost | twice | longest | links | notes |\n|---|---|---|---|---|---|---|---|",
        flush=True,
    )
    for name in chosen.rows.split(","):
        try:
            ROWS[name]()
        except Exception:  # noqa: BLE001  the next row is another scene
            print(f"| {name} | failed: {traceback.format_exc().splitlines()[-1]} |", flush=True)
            traceback.print_exc()
    return 0


if __name__ == "__main__":
    sys.exit(main())
