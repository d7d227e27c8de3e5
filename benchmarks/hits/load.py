"""Asks for pixels with wrk, each connection for the next of the given paths, and reads what it says."""

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

_PATHS = 'wrk.method = "GET"\nwrk.headers["user-agent"] = "{agent}"\nlocal paths = {{}}\n{paths}\nlocal n = 0\n'
_REQUEST = "function request()\n  n = n + 1\n  return wrk.format(nil, paths[n % #paths + 1])\nend\n"
_DONE = (
    "function done(summary, latency, requests)\n"
    '  io.write(string.format("result %d %d %d %d %d\\n", summary.requests, summary.duration,'
    " latency:percentile(50), latency:percentile(99), summary.errors.connect + summary.errors.read"
    " + summary.errors.status + summary.errors.timeout))\nend\n"
)
_AGENT = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148"


class Answers(NamedTuple):
    """What came back in a run. Rates in answers a second, times in milliseconds."""

    total: int
    rate: float
    p50_ms: float
    p99_ms: float
    errors: int


def write_script(folder: Path, paths: list[str]) -> Path:
    """A script for wrk that asks for these paths in turn."""
    script = folder / "paths.lua"
    lines = "\n".join(f'paths[{n}] = "{path}"' for n, path in enumerate(paths, 1))
    script.write_text(_PATHS.format(agent=_AGENT, paths=lines) + _REQUEST + _DONE)
    return script


def ask(port: int, script: Path, connections: int, seconds: float) -> Answers:
    """Asks for so long over so many connections. Raises RuntimeError where wrk says nothing."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", str(script), f"http://127.0.0.1:{port}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"^result (\d+) (\d+) (\d+) (\d+) (\d+)$", done.stdout, re.MULTILINE)
    if not found:
        raise RuntimeError(done.stdout + done.stderr)
    count, duration_us, p50_us, p99_us, errors = map(int, found.groups())
    return Answers(count, count / (duration_us / 1e6), p50_us / 1000, p99_us / 1000, errors)
