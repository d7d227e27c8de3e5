"""All of `make bench`, in ten minutes: mail, pixels and rewriting against their peers, and where a mail's time goes.

    python -m benchmarks [--output benchmarks/RESULTS.md]

Everything is printed as it comes. When all parts have ended the file is written anew; if one fails, it stays.
"""

import argparse
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_PARTS = {
    "Mail": ("benchmarks.mail",),
    "Where a mail's time goes": ("benchmarks.mail.time_profile",),
    "Pixels, each on disk before its answer": ("benchmarks.hits",),
    "Rewriting": ("benchmarks.rewrite",),
}
_HEAD = """# Results

Made by `make bench` on {day}.

Load source, servers and sink share the machine's processors: the ratios to the peer in the same run count, and those
differ from machine to machine. A ratio is the median of the rounds, with the lowest and the highest in brackets. Every
mail was checked to arrive once. What takes longer, such as a store of a million messages or a server that is killed,
is under [Long runs](LONG_RUNS.md).

{machine}
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--output", type=Path, default=_ROOT / "benchmarks" / "RESULTS.md")
    chosen = options.parse_args()
    text = _HEAD.format(day=f"{datetime.now(UTC):%d %B %Y}".lstrip("0"), machine=_describe_machine())
    for title, module in _PARTS.items():
        print(f"\n# {title}\n", flush=True)
        text += f"\n## {title}\n\n{_run(*module)}\n"
    chosen.output.write_text(text, encoding="utf-8")
    print(f"\nwritten: {chosen.output}")


def _run(module: str) -> str:
    """What the program prints, which is shown as it comes. Raises subprocess.CalledProcessError."""
    command = [sys.executable, "-u", "-m", module]
    lines: list[str] = []
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if running.returncode:
        raise subprocess.CalledProcessError(running.returncode, command)
    return "".join(lines).strip()


def _describe_machine() -> str:
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if "model name" in line), "unknown"
    )
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    system = next(
        (line.partition("=")[2].strip('"') for line in _lines("/etc/os-release") if line[:7] == "PRETTY_"), ""
    )
    rows = {
        "processors": f"{os.cpu_count()} ({model})",
        "memory": f"{memory_gib:.0f} GiB",
        "system": f"{system or platform.system()}, Linux {platform.release()}",
        "Python": f"{platform.python_version()}, uvloop {_version('uvloop')}, aiosmtpd {_version('aiosmtpd')}",
        "SQLite": f"{sqlite3.sqlite_version}, synchronous FULL",
        "Postfix": _first_line("postconf", "-h", "mail_version"),
        "Node": _first_line("node", "--version"),
        "pytracking": _version("pytracking"),
    }
    return "| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in rows.items())


def _lines(path: str) -> list[str]:
    found = Path(path)
    return found.read_text(encoding="utf-8").splitlines() if found.is_file() else []


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _first_line(program: str, *arguments: str) -> str:
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if not found:
        return "none"
    said = subprocess.run([found, *arguments], capture_output=True, text=True, check=False).stdout
    return said.partition("\n")[0].strip() or "unknown"


if __name__ == "__main__":
    main()
