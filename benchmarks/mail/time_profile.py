"""Where the processor time of a mail goes, by the part of Waypost that runs: samples of the mail role under load.

    python -m benchmarks.mail.time_profile [--mails 6000]

py-spy looks 250 times a second at what the role's threads do, for mail of 2 KB and of 31 KB, inline, over ten
connections. A sample counts for the innermost part of Waypost on its stack, so that what a part has libraries do is its
own.
"""

import argparse
import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.mail import mails, processes, servers
from benchmarks.mail.load import MailLoad

_CONNECTIONS = 10
_SAMPLES_A_SECOND = 250
# The first that a file's path begins with. The writer is a thread of its own; all others wait for it.
_AREAS = {
    "relay/edge": "SMTP in",
    "relay/delivery/smtp": "SMTP out",
    "relay/rewrite": "rewriting",
    "relay/mime": "rewriting",
    "relay/edit": "rewriting",
    "relay/tokens": "rewriting",
    "relay/delivery": "from accepted to outcome",
    "relay/bounce": "from accepted to outcome",
    "relay/store": "the store",
    "relay/log": "the log",
    "relay/metrics": "the log",
    "relay/node": "the event loop",
    "relay/": "all else",
}
_FILE = re.compile(r"\((relay/[\w/]+\.py)")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--mails", type=int, default=6000, help="of 2 KB; of 31 KB half as many")
    chosen = options.parse_args()
    by_mail: dict[str, Counter[str]] = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        load = stack.enter_context(MailLoad(folder, servers.free_port()))
        relay = stack.enter_context(servers.waypost(folder / "waypost", load.port, mode="inline"))
        for name, mail in mails.write(folder).items():
            if name != "1 MB":
                count = chosen.mails if name == "2 KB text" else chosen.mails // 2
                by_mail[name] = _profile(load, relay, mail, count, folder / "samples")
    _print(by_mail)


def _profile(load: MailLoad, relay: servers.MailServer, mail: Path, count: int, samples: Path) -> Counter[str]:
    """How many samples each part has."""
    before = load.run(relay.port, relay.pid, mail, count // 3, _CONNECTIONS)
    role = next(pid for pid in processes.tree(relay.pid) if _name(pid) == "waypost: smtp")
    seconds = max(2, int(count / before.rate))
    command = [str(_py_spy()), "record", "--nonblocking", "--threads", "--format", "raw", "--output", str(samples)]
    command += ["--rate", str(_SAMPLES_A_SECOND), "--duration", str(seconds), "--pid", str(role)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as recording:
        load.run(relay.port, relay.pid, mail, count, _CONNECTIONS)
        _, said = recording.communicate()
    if recording.returncode or not samples.is_file():
        sys.exit(f"py-spy failed (it may need to be root, or kernel.yama.ptrace_scope=0): {said.strip()[-300:]}")
    areas: Counter[str] = Counter()
    for line in samples.read_text(encoding="utf-8").splitlines():
        stack, _, times = line.rpartition(" ")
        areas[_area(stack)] += int(times)
    return areas


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()


def _area(stack: str) -> str:
    """The part that a stack (`frame;frame;…`, the outermost first) belongs to."""
    files = _FILE.findall(stack)
    area = next((name for start, name in _AREAS.items() if files and files[-1].startswith(start)), "the event loop")
    if area == "the store":
        return "the store's writer" if "database/writer.py" in stack else "the store, read on the event loop"
    return area


def _py_spy() -> Path:
    beside = Path(sys.executable).with_name("py-spy")
    return beside if beside.exists() else Path(shutil.which("py-spy") or "py-spy")


def _print(by_mail: dict[str, Counter[str]]) -> None:
    print(f"| of the samples, in % | {' | '.join(by_mail)} |\n|---|{'---|' * len(by_mail)}")
    totals: Counter[str] = sum(by_mail.values(), Counter())
    for area, _ in totals.most_common():
        shares = (f"{100 * counts[area] / max(1, counts.total()):.0f}" for counts in by_mail.values())
        print(f"| {area} | {' | '.join(shares)} |")


if __name__ == "__main__":
    main()
