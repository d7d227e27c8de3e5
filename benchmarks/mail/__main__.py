"""Mails a second, processor time and memory of Waypost and Postfix, in turn, each round on the same machine.

    python -m benchmarks.mail [--rounds 3] [--quick] [--only TEXT]

Both accept, write to disk, and forward to the sink; Waypost rewrites and keeps its record besides. Ratios are medians
over rounds of what the two did in that round. Loopback only.
"""

import argparse
import contextlib
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path

from benchmarks.mail import mails, processes, servers
from benchmarks.mail.load import Load, Run
from benchmarks.mail.servers import Server

_CONNECTIONS = 10
_COUNTS = {"2 KB text": 3000, "31 KB HTML": 1500, "1 MB": 200}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--quick", action="store_true", help="a fifth of the mails")
    options.add_argument("--only", default="", help="only the servers whose name holds this, beside Postfix")
    options.add_argument("--mail", default="", help="only the mails whose name holds this")
    chosen = options.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        load = stack.enter_context(Load(folder, servers.free_port()))
        running = [stack.enter_context(servers.postfix(folder, load.port))]
        for name, mode, workers in (("inline", "inline", 1), ("queued", "queued", 1), ("two", "queued", 2)):
            started = servers.waypost(folder / name, load.port, mode=mode, workers=workers)
            running.append(stack.enter_context(started))
        running = [one for one in running if one.name == "Postfix" or chosen.only in one.name]
        for name, mail in mails.write(folder).items():
            if chosen.mail in name:
                count = _COUNTS[name] // (5 if chosen.quick else 1)
                _print(name, measure(load, running, mail, count, chosen.rounds))


def measure(load: Load, running: list[Server], mail: Path, count: int, rounds: int) -> dict[str, list[Run]]:
    """The runs of each server, in turn; the memory at load and one connection's replies are printed with them."""
    found: dict[str, list[Run]] = defaultdict(list)
    for server in running:  # nobody is measured while starting
        load.run(server.port, server.pid, mail, min(count, 100), _CONNECTIONS)
    for _ in range(rounds):
        for server in running:
            found[server.name].append(load.run(server.port, server.pid, mail, count, _CONNECTIONS))
            found[f"{server.name}, memory"].append(_Memory(processes.memory_mib(server.pid)))  # type: ignore[arg-type]
            one = load.run(server.port, server.pid, mail, max(20, count // 10), 1)
            found[f"{server.name}, one connection"].append(one)
    return found


class _Memory(float):
    """MiB."""


def _print(name: str, found: dict[str, list[Run]]) -> None:
    def middle(server: str, field: str) -> float:
        return statistics.median(getattr(run, field) for run in found[server])

    print(f"\n## {name}\n")
    print("| server | mails/s | × Postfix | CPU ms | × Postfix | switches | one connection ms, p50 / p99 | MiB | lost | twice |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for server in [name for name in found if "," not in name or name.endswith("processes")]:
        runs, peers = found[server], found["Postfix"]
        rate = statistics.median(mine.rate / peer.rate for mine, peer in zip(runs, peers, strict=True))
        cpu = statistics.median(mine.cpu_ms / peer.cpu_ms for mine, peer in zip(runs, peers, strict=True))
        alone = f"{server}, one connection"
        memory = statistics.median(map(float, found[f"{server}, memory"]))  # type: ignore[arg-type]
        print(
            f"| {server} | {middle(server, 'rate'):.0f} | {rate:.2f} | {middle(server, 'cpu_ms'):.2f} | {cpu:.2f} |"
            f" {middle(server, 'switches'):.0f} | {middle(alone, 'reply_p50_ms'):.1f} / {middle(alone, 'reply_p99_ms'):.1f} |"
            f" {memory:.0f} | {sum(run.lost for run in runs)} | {sum(run.twice for run in runs)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
