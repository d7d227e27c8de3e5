"""An upstream that hangs, stammers, lies or is not there."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import sleep

from benchmarks.chaos.fault_run import FaultRun, resume, stop

_RATE = 8.0
_FAULT_S = 25.0


@contextmanager
def _fault(scene: FaultRun, rate: float = _RATE, before_s: float = 3.0, after_s: float = 5.0) -> Iterator[None]:
    """The load runs before, during and after what is done inside."""
    with scene.load(rate):
        sleep(before_s)
        yield
        sleep(after_s)
    scene.wait_for_arrivals()


def stopped() -> None:
    with FaultRun("2 upstream SIGSTOP 25 s") as scene, _fault(scene):
        stop(scene.upstream.process.pid)
        sleep(_FAULT_S)
        resume(scene.upstream.process.pid)


def scripted(title: str, word: str, keys: str = "") -> None:
    with FaultRun(title, keys=keys) as scene, _fault(scene):
        scene.upstream.play(word)
        sleep(_FAULT_S)
        scene.upstream.play("ok")


def mute(upstreams: int = 1) -> None:
    title = "2 20 connections hang at the dot, new ones are answered" + (", a second upstream" if upstreams > 1 else "")
    with FaultRun(title, upstreams=upstreams) as scene:
        with scene.load(5.0):
            sleep(3)
            scene.upstream.play("mute")
            sleep(20)
            scene.upstream.play("ok")
            sleep(60 if upstreams == 1 else 40)
        scene.wait_for_arrivals()
        scene.note(f"{', '.join(str(sum(one.arrived().values())) for one in scene.upstreams)} arrived by upstream")


_ONE = "messages = 1\n"  # a connection for each mail, so that each is greeted
ROWS = {
    "upstream-stopped": stopped,
    "reads-slowly": lambda: scripted("2 upstream reads 1 octet/s, 25 s", "reads-slowly"),
    "replies-slowly": lambda: scripted("2 replies one octet per 0.1 s", "replies-slowly"),
    "closes": lambda: scripted("2 closes right after the dot (not taken)", "closes"),
    "resets": lambda: scripted("2 250 to the dot, then RST", "resets"),
    "without-end": lambda: scripted("2 endless multi-line reply at the dot", "without-end"),
    "line-without-end": lambda: scripted("2 line without end at the dot", "line-without-end"),
    "garbage": lambda: scripted("2 binary garbage at the dot", "garbage"),
    "taken-garbage": lambda: scripted("2 `250 ` + garbage", "taken-garbage"),
    "greets-garbage": lambda: scripted("2 greeting garbage (1 mail a connection)", "greets-garbage", _ONE),
    "greets-without-end": lambda: scripted("2 endless greeting (1 mail a connection)", "greets-without-end", _ONE),
    "greets-late": lambda: scripted("2 greets after 25 s (1 mail a connection)", "greets-late", _ONE),
    "421": lambda: scripted("2 421 to each second mail", "421"),
    "upstream-mute": mute,
    "second-upstream": lambda: mute(2),
}
