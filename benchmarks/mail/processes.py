"""What a process and all its descendants have cost: processor time, memory and context switches, from /proc."""

import os
from pathlib import Path
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")


class Cost(NamedTuple):
    """Since the processes began: seconds of processor time, and voluntary context switches of all threads."""

    cpu_s: float
    switches: int


def tree(pid: int) -> set[int]:
    """The process and its descendants."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        if fields := _stat(int(folder.name)):
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    found, todo = set(), [pid]
    while todo:
        one = todo.pop()
        if one not in found:
            found.add(one)
            todo += children.get(one, [])
    return found


def cost(pid: int) -> Cost:
    """Of the whole tree, children that have ended included."""
    cpu_s, switches = 0.0, 0
    for one in tree(pid):
        if fields := _stat(one):
            cpu_s += sum(map(int, fields[11:15])) / _TICKS
        for status in Path(f"/proc/{one}/task").glob("*/status"):
            try:
                text = status.read_text()
            except OSError:
                continue
            switches += int(text.partition("\nvoluntary_ctxt_switches:")[2].split("\n", 1)[0] or 0)
    return Cost(cpu_s, switches)


def memory_mib(pid: int) -> float:
    """The proportional set size of the whole tree."""
    total_kib = 0
    for one in tree(pid):
        try:
            text = Path(f"/proc/{one}/smaps_rollup").read_text()
        except OSError:
            continue
        total_kib += int(text.partition("\nPss:")[2].split(maxsplit=1)[0])
    return total_kib / 1024


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
