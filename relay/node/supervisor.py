"""Keeps the roles up: starts a process for each, and starts it again when it dies or no longer answers.

In: the roles, signals, and from each process an octet a second (`role`).  Out: the ready line, and the log. What does
not answer for `[relay] watchdog` is sent SIGABRT, so that it says where it stands, and then SIGKILL. Time is counted
here only while this process runs: what it slept through, its roles may have slept through too.
"""

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from relay import log
from relay.config.schema import Config
from relay.node import role, systemd
from relay.node.data_directory import Unusable
from relay.node.role import Role
from web.server import protocol

_TURN_S = 0.5
_MAX_TURN_S = 2 * _TURN_S  # more is not counted: this process was stopped, or the machine is too busy
_RESTART_AFTER_S = 1.0
_START_WITHIN_S = 600.0  # a long journal is replayed before a role is ready
_DUMP_WITHIN_S = 3.0  # from SIGABRT to SIGKILL: a process that is stopped obeys the second only
_MUTE_S = 3.0  # without a beat, when a stop has no more time
_CLOSE_WITHIN_S = 5.0  # after the drain: leases go back, the database is closed
_STOPPING = (signal.SIGTERM, signal.SIGINT)
_WATCHED = (*_STOPPING, signal.SIGHUP, signal.SIGCHLD)


@dataclass
class _Child:
    """A role's process."""

    role: Role
    heartline: int | None  # None: the process has closed it, and is about to end
    dead: tuple[int, ...]  # its predecessors since the role was last ready
    is_ready: bool = False
    silent_s: float = 0.0  # since its last beat, or since its start where it is not ready
    aborted_s: float | None = None  # since SIGABRT
    is_killed: bool = False


class _Restart(NamedTuple):
    at_s: float
    role: Role
    dead: tuple[int, ...]


class Supervisor:
    """The parent of the roles' processes. It does nothing that could keep it waiting."""

    def __init__(self, config: Config, roles: Sequence[Role], on_ready: Callable[[], None]) -> None:
        self._drain_s = config.relay.drain.total_seconds()
        self._watchdog_s = config.relay.watchdog.total_seconds() or float("inf")
        self._config = config
        self._roles = roles
        self._on_ready = on_ready
        # A daemon reads its certificates again at SIGHUP; a server in a terminal that closes has been left.
        self._ends_with_terminal = bool(sys.stdin) and sys.stdin.isatty()
        self._children: dict[int, _Child] = {}
        self._restarts: list[_Restart] = []
        self._has_been_ready = False
        self._stopping_s: float | None = None  # since a stop was asked for
        self._turned_at_s = time.monotonic()
        self._signals, self._signalled = os.pipe()  # the numbers of signals that came

    def run(self) -> int:
        """Until SIGTERM or SIGINT, and until all roles have ended. Returns the exit status; raises Unusable."""
        for end in (self._signals, self._signalled):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._signalled, warn_on_full_buffer=False)
        for number in _WATCHED:
            signal.signal(number, lambda *_: None)
        for each in self._roles:
            self._start(each, ())
        while self._children or self._restarts:
            self._turn()
        log.stopped()
        return 0

    def _turn(self) -> None:
        heartlines = {child.heartline: child for child in self._children.values() if child.heartline is not None}
        readable, _, _ = select.select([self._signals, *heartlines], [], [], _TURN_S)
        now_s = time.monotonic()
        passed_s = min(now_s - self._turned_at_s, _MAX_TURN_S)
        self._turned_at_s = now_s
        if self._stopping_s is not None:
            self._stopping_s += passed_s
        for child in self._children.values():
            child.silent_s += passed_s
        for heartline in readable:
            if heartline in heartlines:
                self._hear(heartlines[heartline], heartline)
        self._obey()
        self._reap()
        for pid, child in self._children.items():
            self._check(pid, child, passed_s)
        for restart in [one for one in self._restarts if one.at_s <= now_s]:
            self._restarts.remove(restart)
            self._start(restart.role, restart.dead)
        systemd.beat()

    def _hear(self, child: _Child, heartline: int) -> None:
        if not os.read(heartline, 4096):
            os.close(heartline)
            child.heartline = None
            return
        child.silent_s = 0.0
        child.is_ready, child.dead = True, ()
        if not self._has_been_ready and all(one.is_ready for one in self._children.values()):
            self._has_been_ready = True
            if self._stopping_s is None:
                self._on_ready()

    def _obey(self) -> None:
        """Does what signals have asked for. They come through a pipe, so that none interrupts anything here."""
        try:
            numbers = os.read(self._signals, 4096)
        except BlockingIOError:
            return
        for number in numbers:
            if number in _STOPPING or (number == signal.SIGHUP and self._ends_with_terminal):
                self._stop()
            elif number == signal.SIGHUP:
                self._tell(signal.SIGHUP)

    def _stop(self) -> None:
        if self._stopping_s is not None:  # a second one: at once
            self._tell(signal.SIGKILL)
            os._exit(1)
        self._stopping_s = 0.0
        self._restarts.clear()
        log.draining(self._drain_s)
        systemd.notify("STOPPING=1")
        self._tell(signal.SIGTERM)
        for each in self._roles:  # the roles close theirs: from then on new clients are turned away, not kept waiting
            for listener in each.sockets:
                listener.close()

    def _reap(self) -> None:
        """Notes who has ended. Each that ends unasked is started again."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            child = self._children.pop(pid, None)
            if child is None:
                continue  # in a container this may be everybody's last parent
            if child.heartline is not None:
                os.close(child.heartline)
            if self._stopping_s is not None:
                continue
            if not self._has_been_ready:
                self._tell(signal.SIGTERM)
                raise Unusable(f"the {child.role.name} role did not start; its reason stands above")
            log.role_died(child.role.name, pid, status)
            at_s = time.monotonic() + _RESTART_AFTER_S
            self._restarts.append(_Restart(at_s, child.role, (*child.dead, pid)))

    def _check(self, pid: int, child: _Child, passed_s: float) -> None:
        """Ends a process that does not answer, or does not end when it should: once, and in two steps."""
        if child.is_killed:
            return
        if child.aborted_s is not None:
            child.aborted_s += passed_s
            if child.aborted_s >= _DUMP_WITHIN_S:
                child.is_killed = True
                os.kill(pid, signal.SIGKILL)
            return
        if child.silent_s >= (self._watchdog_s if child.is_ready else max(self._watchdog_s, _START_WITHIN_S)):
            log.role_silent(child.role.name, pid, child.silent_s)
        elif self._stopping_s is not None and self._stopping_s >= self._may_stop_within_s(child):
            log.role_unstopped(child.role.name, pid, self._stopping_s, child.silent_s)
        else:
            return
        child.aborted_s = 0.0
        os.kill(pid, signal.SIGABRT)

    def _may_stop_within_s(self, child: _Child) -> float:
        if child.silent_s >= _MUTE_S:
            return self._drain_s - _DUMP_WITHIN_S
        return max(self._drain_s, protocol.DRAIN_S) + _CLOSE_WITHIN_S

    def _start(self, each: Role, dead: tuple[int, ...]) -> None:
        heartline, writes = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        # What the child hears before it has handlers of its own would come out of our pipe.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                self._leave(heartline)
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                status = role.live(self._config, each, writes, parent, dead)
            finally:
                sys.stderr.flush()
                os._exit(status)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(writes)
        self._children[pid] = _Child(each, heartline, dead)
        log.role_started(each.name, pid)

    def _leave(self, heartline: int) -> None:
        """In a child: drops what is the supervisor's."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's ^C goes to all; the supervisor passes it on
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the mail role listens to it
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        siblings = [child.heartline for child in self._children.values() if child.heartline is not None]
        for end in (heartline, self._signals, self._signalled, *siblings):
            os.close(end)

    def _tell(self, number: signal.Signals) -> None:
        for pid in self._children:  # each of them is there, if only as a zombie: nobody else waits for them
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
