"""The load source and the sink, programs in C, and one run of them through a server.

They pass 36,000 to 50,000 mails of 2 KB a second to each other, so that what is measured is the server between them.
Every mail has a number in a header field of its own, by which the sink's log shows that each arrived once.
"""

import array
import json
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NamedTuple, Self

from benchmarks.mail import processes

_HERE = Path(__file__).parent
_TIMEOUT_S = 120.0
_QUIET_S = 10.0  # nothing more arrived for so long: nothing more comes


class Run(NamedTuple):
    """One run. Rates in mails a second from the first MAIL to the last arrival; times in milliseconds."""

    accepted: int
    lost: int
    twice: int
    rate: float
    reply_p50_ms: float  # from MAIL to the reply to the dot
    reply_p99_ms: float
    cpu_ms: float  # of the server, for each mail
    switches: float  # context switches of the server, for each mail


def _build(folder: Path) -> None:
    for name in ("source", "sink"):
        subprocess.run(["cc", "-O2", "-w", "-o", str(folder / name), str(_HERE / f"{name}.c")], check=True)


@dataclass
class MailLoad:
    """A running sink, and what sends to servers whose upstream it is."""

    folder: Path
    port: int
    keeps_mails: int = 0  # so many of the first are written to files

    def __enter__(self) -> Self:
        _build(self.folder)
        self._log = self.folder / "sink.tsv"
        command = [str(self.folder / "sink"), "-p", str(self.port), "-c", str(self.port + 1), "-l", str(self._log)]
        if self.keeps_mails:
            (self.folder / "kept").mkdir()
            command += ["-s", str(self.folder / "kept"), "-m", str(self.keeps_mails)]
        self._sink = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_for_port(self.port + 1)
        self._next = 0
        return self

    def __exit__(self, *_: object) -> None:
        self._sink.terminate()
        self._sink.wait(5)

    def run(self, port: int, pid: int, mail: Path, count: int, connections: int) -> Run:
        """Sends `count` mails over so many connections to the server at `port`, whose first process is `pid`."""
        first, self._next = self._next, self._next + count
        begun = self._arrived()
        before = processes.cost(pid)
        with tempfile.NamedTemporaryFile(dir=self.folder) as times:
            command = [str(self.folder / "source"), "-p", str(port), "-n", str(count), "-s", str(connections)]
            command += ["-f", str(mail), "-i", str(first), "-o", times.name, "-t", str(_TIMEOUT_S)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if not done.stdout:
                raise RuntimeError(done.stderr)
            sent = json.loads(done.stdout)
            self._wait_for(begun + sent["accepted"])
            moments = array.array("d", Path(times.name).read_bytes())
        after = processes.cost(pid)
        accepted = {first + n for n in range(count) if moments[2 * n + 1] > 0}
        arrived, twice, last = self._arrivals(first, first + count)
        seconds = max(last, sent["t_last_accept"]) - sent["t0"]
        return Run(
            len(accepted),
            len(accepted - arrived),
            twice,
            len(arrived) / seconds,
            sent["accept_p50_ms"],
            sent["accept_p99_ms"],
            1000 * (after.cpu_s - before.cpu_s) / max(1, len(arrived)),
            (after.switches - before.switches) / max(1, len(arrived)),
        )

    def kept_mails(self) -> list[Path]:
        """The files of the mails that arrived first."""
        return sorted((self.folder / "kept").glob("*.eml"))

    def _wait_for(self, count: int) -> None:
        seen, since = self._arrived(), monotonic()
        while seen < count and monotonic() - since < _QUIET_S:
            sleep(0.02)
            now = self._arrived()
            if now != seen:
                seen, since = now, monotonic()

    def _arrivals(self, first: int, past: int) -> tuple[set[int], int, float]:
        """Which of the mails arrived, how many of them twice, and when the last one did."""
        self._arrived()  # the sink writes its log out when it is asked
        arrived: set[int] = set()
        twice, last = 0, 0.0
        for line in self._log.read_text().splitlines():
            number, at_ns, _, _ = line.split("\t")
            if number == "-" or not first <= int(number) < past:
                continue
            twice += int(number) in arrived
            arrived.add(int(number))
            last = max(last, int(at_ns) / 1e9)
        return arrived, twice, last

    def _arrived(self) -> int:
        with socket.create_connection(("127.0.0.1", self.port + 1), 5) as control:
            totals: dict[str, Any] = json.loads(control.makefile().read())  # Any: numbers by name
        return int(totals["msgs"])


def wait_for_port(port: int, timeout_s: float = 30.0) -> None:
    """Until something listens there. Raises TimeoutError."""
    until = monotonic() + timeout_s
    while monotonic() < until:
        try:
            with socket.create_connection(("127.0.0.1", port), 1):
                return
        except OSError:
            sleep(0.05)
    raise TimeoutError(f"nothing listens at 127.0.0.1:{port}")
