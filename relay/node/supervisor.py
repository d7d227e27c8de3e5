"""Keep the roles running: start a process for each, and start it again when it dies or stops answering.

In: the roles, signals, and from each process a heartbeat a second (`role`).  Out: the ready line, and the log. A
process that is silent for `[relay] watchdog` gets SIGABRT, so that it writes its stack, and then SIGKILL. Time counts
only while this process runs: if it was suspended, its roles may have been suspended too.
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

from relay import metrics, process_log
from relay.config.schema import Config
from relay.node import role, systemd
from relay.node.data_directory import StartupError
from relay.node.role import Role
from web.server import protocol

_ROUND_S = 0.5
_MAX_ROUND_S = 2 * _ROUND_S  # more is not counted: this process was stopped, or the machine is too busy
_RESTART_AFTER_S = 1.0
_START_WITHIN_S = 600.0  # a long journal is replayed before a role is ready
_DUMP_WITHIN_S = 3.0  # from SIGABRT to SIGKILL: a stopped process reacts to SIGKILL only
_SILENT_S = 3.0  # without a heartbeat, when a stop has no more time
_CLOSE_WITHIN_S = 5.0  # after the drain: leases go back, the database is closed
_STOPPING = (signal.SIGTERM, signal.SIGINT)
_WATCHED = (*_STOPPING, signal.SIGHUP, signal.SIGCHLD)


@dataclass
class _Child:
    """A role's process."""

    role: Role
    heartbeat_pipe: int | None  # None: the process has closed it, and is about to end
    dead_pids: tuple[int, ...]  # its predecessors since the role was last ready
    is_ready: bool = False
    silent_s: float = 0.0  # since its last beat, or since its start where it is not ready
    aborted_s: float | None = None  # since SIGABRT
    is_killed: bool = False


class _Restart(NamedTuple):
    at_s: float
    role: Role
    dead_pids: tuple[int, ...]


class Supervisor:
    """The parent of the roles' processes. It does nothing that could block."""

    def __init__(self, config: Config, roles: Sequence[Role], on_ready: Callable[[], None]) -> None:
        self._drain_s = config.relay.drain.total_seconds()
        self._watchdog_s = config.relay.watchdog.total_seconds() or float("inf")
        self._config = config
        self._roles = roles
        self._on_ready = on_ready
        # A daemon reads its certificates again at SIGHUP. A server in a terminal ends when that closes.
        self._ends_with_terminal = bool(sys.stdin) and sys.stdin.isatty()
        self._children: dict[int, _Child] = {}
        self._restarts: list[_Restart] = []
        self._has_been_ready = False
        self._stopping_s: float | None = None  # since a stop was asked for
        self._round_at_s = time.monotonic()
        self._signals, self._signals_write = os.pipe()  # the numbers of signals that came

    def run(self) -> int:
        """Until SIGTERM or SIGINT, and until all roles have ended. Returns the exit status; raises StartupError."""
        for end in (self._signals, self._signals_write):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._signals_write, warn_on_full_buffer=False)
        for number in _WATCHED:
            signal.signal(number, lambda *_: None)
        for each in self._roles:
            self._start(each, ())
        while self._children or self._restarts:
            self._run_once()
        process_log.stopped()
        return 0

    def _run_once(self) -> None:
        pipes = {child.heartbeat_pipe: child for child in self._children.values() if child.heartbeat_pipe is not None}
        readable, _, _ = select.select([self._signals, *pipes], [], [], _ROUND_S)
        now_s = time.monotonic()
        passed_s = min(now_s - self._round_at_s, _MAX_ROUND_S)
        self._round_at_s = now_s
        if self._stopping_s is not None:
            self._stopping_s += passed_s
        for child in self._children.values():
            child.silent_s += passed_s
        for heartbeat_pipe in readable:
            if heartbeat_pipe in pipes:
                self._read_heartbeat(pipes[heartbeat_pipe], heartbeat_pipe)
        self._handle_signals()
        self._reap()
        for pid, child in self._children.items():
            self._check_child(pid, child, passed_s)
        for restart in [one for one in self._restarts if one.at_s <= now_s]:
            self._restarts.remove(restart)
            self._start(restart.role, restart.dead_pids)
        systemd.notify_watchdog()

    def _read_heartbeat(self, child: _Child, heartbeat_pipe: int) -> None:
        if not os.read(heartbeat_pipe, 4096):
            os.close(heartbeat_pipe)
            child.heartbeat_pipe = None
            return
        child.silent_s = 0.0
        child.is_ready, child.dead_pids = True, ()
        if not self._has_been_ready and all(one.is_ready for one in self._children.values()):
            self._has_been_ready = True
            if self._stopping_s is None:
                self._on_ready()

    def _handle_signals(self) -> None:
        """Acts on the signals that came. They come through a pipe, so that none interrupts anything here."""
        try:
            numbers = os.read(self._signals, 4096)
        except BlockingIOError:
            return
        for number in numbers:
            if number in _STOPPING or (number == signal.SIGHUP and self._ends_with_terminal):
                self._stop()
            elif number == signal.SIGHUP:
                self._signal_children(signal.SIGHUP)

    def _stop(self) -> None:
        if self._stopping_s is not None:  # a second one: at once
            self._signal_children(signal.SIGKILL)
            os._exit(1)
        self._stopping_s = 0.0
        self._restarts.clear()
        process_log.draining(self._drain_s)
        systemd.notify("STOPPING=1")
        self._signal_children(signal.SIGTERM)
        for each in self._roles:  # the roles close theirs too: from then on new clients are refused, and do not wait
            for listener in each.sockets:
                listener.close()

    def _reap(self) -> None:
        """Collects processes that have ended, and schedules their restart unless they were stopped."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            child = self._children.pop(pid, None)
            if child is None:
                continue  # in a container orphans of others may become our children
            if child.heartbeat_pipe is not None:
                os.close(child.heartbeat_pipe)
            if self._stopping_s is not None:
                continue
            if not self._has_been_ready:
                self._signal_children(signal.SIGTERM)
                raise StartupError(f"the {child.role.name} role did not start; its reason stands above")
            process_log.role_died(child.role.name, pid, status)
            metrics.role_died(child.role.name)
            at_s = time.monotonic() + _RESTART_AFTER_S
            self._restarts.append(_Restart(at_s, child.role, (*child.dead_pids, pid)))

    def _check_child(self, pid: int, child: _Child, passed_s: float) -> None:
        """Ends a process that does not answer, or does not end when it should: once, in two steps."""
        if child.is_killed:
            return
        if child.aborted_s is not None:
            child.aborted_s += passed_s
            if child.aborted_s >= _DUMP_WITHIN_S:
                child.is_killed = True
                os.kill(pid, signal.SIGKILL)
            return
        if child.silent_s >= (self._watchdog_s if child.is_ready else max(self._watchdog_s, _START_WITHIN_S)):
            process_log.role_silent(child.role.name, pid, child.silent_s)
        elif self._stopping_s is not None and self._stopping_s >= self._stop_limit_s(child):
            process_log.role_unstopped(child.role.name, pid, self._stopping_s, child.silent_s)
        else:
            return
        child.aborted_s = 0.0
        os.kill(pid, signal.SIGABRT)

    def _stop_limit_s(self, child: _Child) -> float:
        if child.silent_s >= _SILENT_S:
            return self._drain_s - _DUMP_WITHIN_S
        return max(self._drain_s, protocol.DRAIN_S) + _CLOSE_WITHIN_S

    def _start(self, each: Role, dead_pids: tuple[int, ...]) -> None:
        heartbeat_pipe, writes = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        # A signal to the child before it has handlers of its own would come out of our pipe.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                self._close_inherited(heartbeat_pipe)
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                status = role.run_child(self._config, each, writes, parent, dead_pids)
            finally:
                sys.stderr.flush()
                os._exit(status)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(writes)
        self._children[pid] = _Child(each, heartbeat_pipe, dead_pids)
        process_log.role_started(each.name, pid)

    def _close_inherited(self, heartbeat_pipe: int) -> None:
        """In a child: closes and resets what belongs to the supervisor."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's ^C goes to all; the supervisor passes it on
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the mail role listens to it
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        siblings = [child.heartbeat_pipe for child in self._children.values() if child.heartbeat_pipe is not None]
        for end in (heartbeat_pipe, self._signals, self._signals_write, *siblings):
            os.close(end)

    def _signal_children(self, number: signal.Signals) -> None:
        for pid in self._children:  # each still exists, if only as a zombie: only this process waits for them
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
