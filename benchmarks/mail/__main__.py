"""Mails a second, processor time and memory of Waypost and Postfix, in turn, each round on the same machine.

    python -m benchmarks.mail [--rounds 3] [--quick] [--only TEXT] [--postgresql] [--store waypost.db]

Both accept, write to disk, and forward to the sink; Waypost rewrites and keeps its record besides. Ratios are medians
over rounds of what the two did in that round. Loopback only.
"""

import argparse
import contextlib
import statistics
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from benchmarks.mail import mails, processes, servers
from benchmarks.mail.load import MailLoad, Run
from benchmarks.mail.servers import MailServer
from benchmarks.ratios import with_spread

_CONNECTIONS = 10
_COUNTS = {"2 KB text": 3000, "31 KB HTML": 1500, "1 MB": 200}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--quick", action="store_true", help="a fifth of the mails")
    options.add_argument("--only", default="", help="only the servers whose name holds this, beside Postfix")
    options.add_argument("--mail", default="", help="only the mails whose name holds this")
    options.add_argument("--postgresql", action="store_true", help="Waypost on PostgreSQL too")
    options.add_argument("--store", type=Path, help="Waypost with a copy of this database too (benchmarks.full_store)")
    chosen = options.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        load = stack.enter_context(MailLoad(folder, servers.free_port()))
        running = [stack.enter_context(servers.postfix(folder, load.port))]
        for name, mode, workers in (("inline", "inline", 1), ("queued", "queued", 1), ("two", "queued", 2)):
            started = servers.waypost(folder / name, load.port, mode=mode, workers=workers)
            running.append(stack.enter_context(started))
        if chosen.postgresql:
            url = stack.enter_context(servers.postgresql())
            started = servers.waypost(folder / "postgresql", load.port, mode="inline", database_url=url)
            running.append(stack.enter_context(started))
        if chosen.store:
            started = servers.waypost(folder / "full", load.port, mode="inline", store=chosen.store)
            running.append(stack.enter_context(started))
        running = [one for one in running if one.name == "Postfix" or chosen.only in one.name]
        for name, mail in mails.write(folder).items():
            if chosen.mail in name:
                count = _COUNTS[name] // (5 if chosen.quick else 1)
                _print(name, measure(load, running, mail, count, chosen.rounds))


class Measured(NamedTuple):
    """A server in one round: at load, over one connection, and its memory at load in MiB."""

    load: Run
    alone: Run
    memory_mib: float


def measure(
    load: MailLoad, running: list[MailServer], mail: Path, count: int, rounds: int
) -> dict[str, list[Measured]]:
    """What each server did, in turn."""
    found: dict[str, list[Measured]] = {server.name: [] for server in running}
    for server in running:  # nobody is measured while starting
        load.run(server.port, server.pid, mail, min(count, 100), _CONNECTIONS)
    for _ in range(rounds):
        for server in running:
            run = load.run(server.port, server.pid, mail, count, _CONNECTIONS)
            memory_mib = processes.memory_mib(server.pid)
            alone = load.run(server.port, server.pid, mail, max(20, count // 10), 1)
            found[server.name].append(Measured(run, alone, memory_mib))
    return found


_COLUMNS = ("server", "mails/s", "× Postfix", "CPU ms", "× Postfix", "switches", "one connection ms: p50, p99", "MiB")


def _print(name: str, results: dict[str, list[Measured]]) -> None:
    print(f"\n### {name}\n")
    print(f"| {' | '.join(_COLUMNS)} | lost | twice |\n|{'---|' * (len(_COLUMNS) + 2)}")
    peers = results["Postfix"]
    for server, mine in results.items():
        pairs = list(zip(mine, peers, strict=True))
        row = (
            f"{_middle(one.load.rate for one in mine):.0f}",
            with_spread(one.load.rate / peer.load.rate for one, peer in pairs),
            f"{_middle(one.load.cpu_ms for one in mine):.2f}",
            with_spread(one.load.cpu_ms / peer.load.cpu_ms for one, peer in pairs),
            f"{_middle(one.load.switches for one in mine):.0f}",
            f"{_middle(one.alone.reply_p50_ms for one in mine):.1f}, "
            f"{_middle(one.alone.reply_p99_ms for one in mine):.1f}",
            f"{_middle(one.memory_mib for one in mine):.0f}",
            *(str(sum(getattr(run, what) for one in mine for run in one[:2])) for what in ("lost", "twice")),
        )
        print(f"| {server} | {' | '.join(row)} |", flush=True)


def _middle(values: Iterable[float]) -> float:
    return statistics.median(values)


if __name__ == "__main__":
    main()
