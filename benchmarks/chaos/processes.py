"""Roles stopped, killed and started again."""

import itertools
import os
import signal
import threading
from collections.abc import Callable
from time import monotonic, sleep

from benchmarks.chaos.fault_run import FaultRun, resume, stop

_TWO = "workers = 2\n"
_NO_WATCHDOG = 'watchdog = "0s"\n'


def stopped(title: str, role: int, fault_s: float, mode: str = "inline", relay: str = "", rate: float = 40.0) -> None:
    with FaultRun(title, mode, relay) as scene:
        with scene.links(), scene.load(rate):
            sleep(3)
            pid = scene.roles()[role]
            stop(pid)
            sleep(fault_s)
            if pid in scene.roles():
                resume(pid)
            sleep(5)
        scene.wait_for_arrivals()
        scene.note(f"role-silent × {scene.node.read_log().count('role-silent')}")


def suspended() -> None:
    """Longer than its lease, with the watchdog off."""
    with FaultRun("1 SIGSTOP 1 of 2 workers 190 s, SQLite, queued", "queued", _TWO + _NO_WATCHDOG) as scene:
        scene.upstream.play("replies-slowly")
        with scene.load(20.0):
            sleep(10)
        pid = scene.roles()[0]
        stop(pid)
        scene.upstream.play("ok")
        sleep(190)
        resume(pid)
        scene.wait_for_arrivals(60)


def killed(title: str, mode: str, relay: str, plan: dict[str, int]) -> None:
    """`plan`: how often each of supervisor, mail and web is killed within a minute."""
    with FaultRun(title, mode, relay) as scene:
        victims = list(itertools.chain.from_iterable([name] * count for name, count in plan.items()))
        victims.sort(key=lambda name: hash((name, len(victims))) % 7)
        with scene.load(30.0):
            begun = monotonic()
            for number, name in enumerate(victims):
                sleep(max(0.0, begun + 60 * number / len(victims) - monotonic()))
                _kill(scene, name)
            sleep(3)
        scene.wait_for_arrivals()


def _kill(scene: FaultRun, name: str) -> None:
    if name == "supervisor":
        scene.node.kill()
        _started(scene)
    elif roles := scene.roles():
        os.kill(roles[0 if name == "mail" else -1], signal.SIGKILL)


def _started(scene: FaultRun) -> None:
    try:
        scene.node.start()
    except AssertionError:  # what it left has not gone yet
        sleep(1)
        scene.node.start()


def restarted(title: str, mode: str) -> None:
    with FaultRun(title, mode, _TWO) as scene:
        took: list[str] = []
        with scene.load(30.0):
            for _ in range(4):
                sleep(6)
                begun = monotonic()
                scene.node.stop(60)
                ended = monotonic()
                scene.node.start()
                took.append(f"{ended - begun:.1f} + {monotonic() - ended:.1f} s")
            sleep(5)
        scene.wait_for_arrivals()
        scene.note("stop + start " + ", ".join(took))


def backlog() -> None:
    """10,000 mails queued while the upstream is down, and new mail while they drain."""
    with FaultRun("8 10,000 queued, upstream down, then up", "queued") as scene:
        scene.upstream.play("down")
        with scene.load(100.0):
            sleep(100)
        scene.upstream.play("ok")
        begun = monotonic()
        first: list[float] = []
        watch = threading.Thread(target=lambda: first.append(_first_arrival(scene.arrived) - begun), daemon=True)
        watch.start()
        took_s = scene.wait_for_arrivals(400)
        watch.join(1)
        scene.note(
            f"first after {first[0] if first else -1:.0f} s, {scene.row.accepted / max(1.0, took_s):.0f}/s in all"
        )


def _first_arrival(arrived: Callable[[], object]) -> float:
    while not arrived():
        sleep(0.1)
    return monotonic()


ROWS = {
    "stop-mail": lambda: stopped("1 SIGSTOP mail 20 s (inline, 40/s)", 0, 20),
    "stop-mail-long": lambda: stopped("1 SIGSTOP mail 45 s, past the watchdog", 0, 45),
    "stop-web": lambda: stopped("1 SIGSTOP web 20 s", -1, 20),
    "stop-worker-queued": lambda: stopped("1 SIGSTOP 1 of 2 workers 12 s, queued", 0, 12, "queued", _TWO, 32),
    "stop-worker-inline": lambda: stopped("1 SIGSTOP 1 of 2 workers 12 s, inline", 0, 12, "inline", _TWO, 32),
    "suspended": suspended,
    "kill-inline": lambda: killed(
        "3 kill -9 supervisor (6) mail (11) web (9), inline, 60 s",
        "inline",
        "",
        {"supervisor": 6, "mail": 11, "web": 9},
    ),
    "kill-queued": lambda: killed(
        "3 kill -9 supervisor (5) mail (18) web (5), queued, workers 2",
        "queued",
        _TWO,
        {"supervisor": 5, "mail": 18, "web": 5},
    ),
    "restart-inline": lambda: restarted("9 SIGTERM + start × 4, workers 2, inline", "inline"),
    "restart-queued": lambda: restarted("9 SIGTERM + start × 4, workers 2, queued", "queued"),
    "backlog": backlog,
}
