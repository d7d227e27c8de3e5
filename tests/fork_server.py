"""Waypost's processes, each forked from one that has the program in memory already.

In: a command's words, and its three streams.  Out: a process of its own, with signals, streams and an exit status
like any other. What is saved is the time to import everything, some 0.6 s of the processor for each command and 1 s
for each server; `tests/node/test_start.py` starts the program as a user does.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, NoReturn

import argon2

ROOT = Path(__file__).parents[1]
# Where a Python that a test starts finds the program, and what this one was told besides (`make later`).
IMPORT_PATH = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
_MAX_REQUEST_OCTETS = 1 << 17  # octets of a request
_READ_AT_START = ("COVERAGE", "FAKETIME", "LD_", "PYTHON")  # what of an environment a process reads as it begins


class Process:
    """A forked process, with the methods of subprocess.Popen that the tests need."""

    def __init__(self, pid: int, status: int) -> None:
        self.pid = pid
        self.returncode: int | None = None  # negative: the signal that ended it
        self._status = status

    def poll(self) -> int | None:
        return self._ended(0)

    def wait(self, timeout_s: float) -> int:
        """The exit status. Raises subprocess.TimeoutExpired."""
        status = self._ended(timeout_s)
        if status is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout_s)
        return status

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def _ended(self, timeout_s: float) -> int | None:
        if self.returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._status, selectors.EVENT_READ)
                if selector.select(timeout_s):
                    self.returncode = int(os.read(self._status, 32) or b"-9")
                    os.close(self._status)
        return self.returncode


class ForkServer:
    """Processes that have the program in memory, started when a test first needs one: one for each environment, as far
    as a process reads it when it begins."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: dict[frozenset[tuple[str, str]], socket.socket] = {}

    def start(self, words: list[str], stdin: IO[bytes], stdout: IO[bytes] | int, stderr: IO[bytes]) -> Process:
        """Runs `waypost WORDS` in a process of its own."""
        status, status_end = os.pipe()
        own = ("WAYPOST_", "PYTEST_")  # what is set for the tests, and by them for each
        environment = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        environment["PYTHONPATH"] = IMPORT_PATH
        streams = [one if isinstance(one, int) else one.fileno() for one in (stdin, stdout, stderr)]
        with self._lock:
            key = frozenset(pair for pair in environment.items() if pair[0].startswith(_READ_AT_START))
            if key not in self._sockets:
                self._sockets[key] = self._begin(environment)
            socket.send_fds(self._sockets[key], [json.dumps([words, environment]).encode()], [*streams, status_end])
            pid = int(self._sockets[key].recv(32))
        os.close(status_end)
        return Process(pid, status)

    def _begin(self, environment: dict[str, str]) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.fork_server", str(theirs.fileno())],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        atexit.register(_end, ours, process)
        return ours


def _end(requests: socket.socket, process: "subprocess.Popen[bytes]") -> None:
    requests.close()
    process.wait(60)


def hang(*_: object) -> None:
    """SIGUSR1 makes a process do this: it never comes back to its event loop."""
    while True:
        time.sleep(60)


def _serve(requests: socket.socket) -> list[str]:
    """Forks until the other side goes, and ends what it left. Returns in a child alone: the words it is to run."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's ^C: the tests end first, and their servers with them
    living: dict[int, int] = {}  # a child's process id, and where its status is awaited
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        selector.register(wake_read, selectors.EVENT_READ)
        while True:
            ready = [key.fileobj for key, _ in selector.select()]
            if wake_read in ready:
                os.read(wake_read, 4096)
                _report(living)
            if requests not in ready:
                continue
            text, streams, _, _ = socket.recv_fds(requests, _MAX_REQUEST_OCTETS, 4)
            if not text:
                break
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                for number, stream in enumerate(streams[:3]):
                    os.dup2(stream, number)
                for left in (*streams, wake_read, wake_write, requests.fileno(), *living.values()):
                    os.close(left)
                requests.detach()
                words: list[str]
                words, environment = json.loads(text)
                _change_environment(environment)
                return words
            living[pid] = streams[3]
            for stream in streams[:3]:
                os.close(stream)
            requests.send(str(pid).encode())
    for pid in living:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    os._exit(0)


def _change_environment(environment: dict[str, str]) -> None:
    """What is as it should be stays where it is: setproctitle finds a process's title by it."""
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    for name, value in environment.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _report(living: dict[int, int]) -> None:
    while living:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        pipe = living.pop(pid)
        with contextlib.suppress(BrokenPipeError):
            os.write(pipe, str(os.waitstatus_to_exitcode(status)).encode())
        os.close(pipe)


def _fail(*_: object, **__: object) -> NoReturn:
    raise KeyError("a mistake of ours, about secret@example.com")


if __name__ == "__main__":
    main = importlib.import_module("relay.cli.main")
    for package in (importlib.import_module("relay"), importlib.import_module("web")):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if "__main__" not in found.name and ".migrations." not in found.name:
                importlib.import_module(found.name)
    for late in ("alembic.command", "alembic.context", "dns.resolver", "idna", "encodings.idna", "encodings.utf_8_sig",
                 "psycopg", "rich.console", "rich.progress", "rich.table"):  # fmt: skip
        importlib.import_module(late)  # what functions import when they need it
    importlib.import_module("relay.attribution.rules").load()
    importlib.import_module("relay.node.diagnosis.dns_records").public_suffixes()
    # The first account's password, at each start, took as much of the processor as all the rest of it.
    accounts = importlib.import_module("relay.store.console.accounts")
    accounts._HASHER = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)  # type: ignore[attr-defined]
    gc.freeze()
    given = _serve(socket.socket(fileno=int(sys.argv[1])))
    while given[0].startswith("--mistake="):  # a function of the program that fails each time
        module, _, function = given.pop(0).partition("=")[2].partition(":")
        there = importlib.import_module(module)
        getattr(there, function)  # one that is gone would make no mistake
        setattr(there, function, _fail)
    signal.signal(signal.SIGUSR1, hang)
    sys.argv = ["waypost", *given]
    try:
        status = main.main(given)
    except SystemExit as end:
        status = end.code
    # What Python does at an exit, but for the taking apart of all modules, which takes 0.2 s.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else 0 if status is None else 1)
