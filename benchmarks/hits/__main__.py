"""Pixels a second, each on disk before the answer, against Express and sqlite3; and what a kill -9 loses.

    python -m benchmarks.hits [--rounds 3] [--seconds 5] [--kills 10] [--packages DIR] [--store waypost.db]

The pixels are those of 3,000 mails that went through Waypost just before. Loopback only.
"""

import argparse
import contextlib
import os
import re
import signal
import sqlite3
import statistics
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

from benchmarks.hits import load, servers
from benchmarks.mail import mails, processes
from benchmarks.mail.load import MailLoad, wait_for_port
from benchmarks.mail.servers import MailServer, free_port, waypost
from benchmarks.ratios import with_spread

_MAILS = 3000
_KILL_LOAD_S = 3.0
_SETTLED_S = 5.0  # nothing more is written for so long: nothing more comes
_PIXEL = re.compile(rb"/o/[A-Za-z0-9_-]+\.gif")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=5)
    options.add_argument("--kills", type=int, default=10)
    options.add_argument("--packages", type=Path, default=Path(__file__).parents[2] / "var" / "bench-packages")
    options.add_argument("--store", type=Path, help="Waypost has a copy of this database (benchmarks.full_store)")
    chosen = options.parse_args()
    servers.install_express(chosen.packages)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sent = stack.enter_context(MailLoad(folder, free_port(), keeps_mails=_MAILS))
        relay = stack.enter_context(waypost(folder / "waypost", sent.port, mode="inline", store=chosen.store))
        script = load.write_script(folder, _pixels(sent, relay, folder))
        web = MailServer("Waypost", relay.tracking_port, relay.pid)
        peer = stack.enter_context(servers.express(chosen.packages, folder))
        compare([peer, web], script, chosen.rounds, chosen.seconds)
        database = folder / "waypost" / "data" / "waypost.db"
        lost = [_lost_by_a_kill(web, script, database) for _ in range(chosen.kills)]
        print(f"\nkill -9 of the web role under load, {chosen.kills} times: answered and missing {lost}")


def _pixels(sent: MailLoad, relay: MailServer, folder: Path) -> list[str]:
    """The paths of the pixels that arrived in mails."""
    sent.run(relay.port, relay.pid, mails.write(folder)["31 KB HTML"], _MAILS, 10)
    found = (_PIXEL.search(mail.read_bytes()) for mail in sent.kept_mails())
    return [match[0].decode() for match in found if match]


def compare(running: list[MailServer], script: Path, rounds: int, seconds: float) -> None:
    """Prints the table."""
    print("| server | connections | answers/s | × Express | p50 ms | p99 ms | CPU ms an answer | errors |")
    print("|---|---|---|---|---|---|---|---|")
    for connections in (50, 1):
        found: dict[str, list[load.Answers]] = {server.name: [] for server in running}
        cpu_ms: dict[str, list[float]] = {server.name: [] for server in running}
        for _ in range(rounds):
            for server in running:
                before = processes.cost(server.pid)
                found[server.name].append(load.ask(server.port, script, connections, seconds))
                spent_s = processes.cost(server.pid).cpu_s - before.cpu_s
                cpu_ms[server.name].append(1000 * spent_s / max(1, found[server.name][-1].total))
                sleep(1)  # for what is written behind the answers
        for server in running:
            mine, peers = found[server.name], found[running[0].name]
            ratio = with_spread(one.rate / peer.rate for one, peer in zip(mine, peers, strict=True))
            middle = [statistics.median(values) for values in zip(*(one[1:4] for one in mine), strict=True)]
            print(
                f"| {server.name} | {connections} | {middle[0]:.0f} | {ratio} | {middle[1]:.1f} | {middle[2]:.1f} |"
                f" {statistics.median(cpu_ms[server.name]):.2f} | {sum(one.errors for one in mine)} |",
                flush=True,
            )


def _lost_by_a_kill(web: MailServer, script: Path, database: Path) -> int:
    """How many answered hits are in no database, once the role is back and its journal replayed."""
    _wait_until_written(database)  # of the runs before this one too, so that the difference is this one's
    before = _opens(database)
    answers: list[load.Answers] = []
    asking = threading.Thread(target=lambda: answers.append(load.ask(web.port, script, 50, _KILL_LOAD_S)))
    asking.start()
    sleep(_KILL_LOAD_S / 2)
    role = _children(web.pid)[-1]
    os.kill(role, signal.SIGKILL)
    asking.join()
    wait_for_port(web.port)
    _wait_until_written(database, before + answers[0].total)
    return max(0, answers[0].total - (_opens(database) - before))


def _wait_until_written(database: Path, expected: int | None = None) -> None:
    """Waits for so many opens, or until no more are added."""
    found, at_s = _opens(database), monotonic()
    while expected is None or found < expected:
        sleep(0.5)
        now = _opens(database)
        if now > found:
            found, at_s = now, monotonic()
        elif monotonic() - at_s > _SETTLED_S:
            return


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextlib.contextmanager
def _reading(database: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        yield connection


def _opens(database: Path) -> int:
    with _reading(database) as connection:
        return int(connection.execute("SELECT count(*) FROM event WHERE type = 'opened'").fetchone()[0])


if __name__ == "__main__":
    main()
