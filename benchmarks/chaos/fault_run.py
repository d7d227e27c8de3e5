"""Waypost and its upstreams in a folder, a load before them, and what became of it as a row of the table."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

import httpx

from benchmarks.chaos.load import SteadyLoad
from tests.waypost_server import ROOT, Waypost, free_port, html_mail, tracking_urls

RETRY = 'retry = ["3s", "6s", "10s"]\n'
ACCESS = "[access]\nmax_connections_per_ip = 2000\n"  # the load comes from one address


@dataclass
class UpstreamProcess:
    """A sink in a process of its own."""

    folder: Path
    port: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        self.script, self.file = self.folder / "script", self.folder / "arrivals"
        self.script.write_text("ok")
        self.file.touch()
        self.port = free_port()
        words = [sys.executable, "-m", "benchmarks.chaos.sink", str(self.port), str(self.script), str(self.file)]
        self.process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout and self.process.stdout.readline() == "ready\n"

    def play(self, word: str) -> None:
        self.script.with_suffix(".new").write_text(word)
        self.script.with_suffix(".new").rename(self.script)

    def arrived(self) -> Counter[str]:
        return Counter(self.file.read_text().split())

    def close(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait(10)


@dataclass
class FaultFigures:
    """What one fault did."""

    name: str
    sent: int = 0
    accepted: int = 0
    lost: int = 0
    twice: int = 0
    longest_s: float = 0.0
    links: str = ""
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        cells = (self.name, self.sent, self.accepted, self.lost, self.twice, f"{self.longest_s:.1f} s", self.links)
        return "| " + " | ".join(map(str, cells)) + " | " + "; ".join(self.notes) + " |"


class FaultRun:
    """`nodes` servers before one upstream (or `upstreams`), each in a folder of its own."""

    def __init__(
        self,
        name: str,
        mode: str = "inline",
        relay: str = "",
        tables: str = "",
        upstreams: int = 1,
        folder: Path | None = None,
        before: Callable[[Path], None] | None = None,
        databases: tuple[str, ...] = ("",),
        keys: str = "",
    ) -> None:
        self.row = FaultFigures(name)
        self._stack = contextlib.ExitStack()
        self.folder = folder or Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="waypost-chaos-")))
        self.upstreams = [UpstreamProcess(self.folder / f"upstream-{n}") for n in range(upstreams)]
        for upstream in self.upstreams:
            self._stack.callback(upstream.close)
        more = "".join(
            f'{keys}[[upstream]]\nname = "other{n}"\naddress = "127.0.0.1:{one.port}"\ntls = "off"\n'
            for n, one in enumerate(self.upstreams[1:])
        )
        self.nodes: list[Waypost] = []
        for n, database in enumerate(databases):
            place = self.folder / f"node-{n}"
            text = f'{more or ""}{keys}{database}[delivery]\nmode = "{mode}"\n{RETRY}{ACCESS}{tables}'
            node = Waypost(place, self.upstreams[0].port, text, relay)
            if n:  # all machines of one service share their keys
                (place / "data").mkdir(mode=0o700)
                (place / "data" / "keys.json").write_bytes((self.folder / "node-0/data/keys.json").read_bytes())
                (place / "data" / "keys.json").chmod(0o600)
            if before:
                before(place)
            node.start()
            self.nodes.append(node)

    @property
    def node(self) -> Waypost:
        return self.nodes[0]

    @property
    def upstream(self) -> UpstreamProcess:
        return self.upstreams[0]

    def __enter__(self) -> "FaultRun":
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            if node.process is not None and node.process.poll() is None:
                node.stop(60)
            elif node.process is not None:
                node.kill()
        log = "".join(node.read_log() for node in self.nodes)
        self.note(f"log {len(log) / 1e3:.0f} KB, {log.count('Traceback')} tracebacks")
        self._stack.close()
        print(self.row, flush=True)

    def note(self, text: str) -> None:
        self.row.notes.append(text)

    def roles(self, node: Waypost | None = None) -> list[int]:
        """Process ids: mail processes first, the web role last."""
        return (node or self.node).children()

    @contextlib.contextmanager
    def load(self, rate: float, octets: int = 0, give_up_s: float = 300.0) -> Iterator[SteadyLoad]:
        """Counts what was sent in it into the row."""
        sender = SteadyLoad([node.port for node in self.nodes], rate, octets, give_up_s)
        with sender:
            yield sender
        self._sender = sender
        self.row.sent += sender.sent
        self.row.accepted += len(sender.accepted)
        self.row.longest_s = max(self.row.longest_s, sender.longest_s)
        if sender.refused:
            self.note(
                "refused "
                + ", ".join(
                    f"{sender.replies.get(code, code)} × {count}" for code, count in sender.refused.most_common()
                )
            )

    @contextlib.contextmanager
    def links(self, node: Waypost | None = None) -> Iterator[None]:
        """Asks for a link four times a second meanwhile."""
        here = node or self.node
        assert here.send(html_mail(), "link@x.test").startswith("250")
        mail = self.upstream.file.with_name("other.eml")
        wait_until(mail.exists)
        [link] = tracking_urls(mail.read_bytes())["c"]
        codes: Counter[str] = Counter()
        longest = [0.0]
        stopping = threading.Event()

        def run() -> None:
            while not stopping.wait(0.25):
                begun = monotonic()
                try:
                    codes[str(httpx.get(link, timeout=60).status_code)] += 1
                except httpx.HTTPError as error:
                    codes[type(error).__name__] += 1
                longest[0] = max(longest[0], monotonic() - begun)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield
        stopping.set()
        thread.join()
        self.row.links = ", ".join(f"{count} × {code}" for code, count in codes.items()) + f" ≤ {longest[0]:.2f} s"

    def wait_for_arrivals(self, timeout_s: float = 120.0) -> float:
        """Waits until all that was accepted is there, then a little for what comes twice. Notes the result; how long
        it took."""
        begun = monotonic()
        wanted = set(self._sender.accepted)
        while (missing := len(wanted - self.arrived().keys())) and monotonic() < begun + timeout_s:
            sleep(0.1)
        took_s = monotonic() - begun
        sleep(12)  # the longest wait for a retry
        arrived = self.arrived()
        self.row.lost = len(wanted - arrived.keys())
        self.row.twice = sum(count - 1 for name, count in arrived.items() if name in wanted)
        if late := sum(arrived[name] for name in self._sender.cut):
            self.note(f"{late} of {len(self._sender.cut)} without an answer arrived")
        self.note(f"{missing} not there after {took_s:.0f} s" if missing else f"all there after {took_s:.1f} s")
        return took_s

    def arrived(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for upstream in self.upstreams:
            total += upstream.arrived()
        return total


def wait_until(is_so: Callable[[], object], timeout_s: float = 60.0) -> None:
    end = monotonic() + timeout_s
    while not is_so():
        assert monotonic() < end, "it did not happen"
        sleep(0.05)


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)


def resume(pid: int) -> None:
    os.kill(pid, signal.SIGCONT)
